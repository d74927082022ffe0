"""The smallest JSON value that satisfies a schema, and finding the schema in a prompt.

This is the simulator's default answer: whatever agent asks, it gets something of the right shape. It covers what agents' output
schemas use (types, enum, const, bounds, formats, local references, combinators by their first branch), not all of JSON Schema;
``pattern`` is not solved.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

_DECODER = json.JSONDecoder()
_MAX_DEPTH = 32
_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "email": "nobody@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.org",
}


@lru_cache(maxsize=256)
def answer_for(prompt: str) -> str | None:
    """JSON text of an instance of the last object schema in ``prompt``; None when there is none."""
    schema = find_schema(prompt)
    return None if schema is None else json.dumps(instance(schema))


def find_schema(text: str) -> dict[str, Any] | None:
    """The last JSON object in ``text`` that is an object schema."""
    found, position = None, text.find("{")
    while position >= 0:
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            if isinstance(value, dict) and isinstance(value.get("properties"), dict):
                found = value
        position = text.find("{", end)
    return found


def instance(schema: Any) -> Any:
    """A small instance of ``schema``. References outside of the schema count as "anything"."""
    return _make(schema, schema, 0)


def _make(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None if schema is not True else {}
    if "$ref" in schema:
        return _make(_resolve(root, schema["$ref"]), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for combinator in ("anyOf", "oneOf"):
        if schema.get(combinator):
            return _make({**_without(schema, combinator), **schema[combinator][0]}, root, depth + 1)
    if schema.get("allOf"):
        return _make(_merged(schema, root), root, depth + 1)
    return _BY_TYPE.get(_type_of(schema), _null)(schema, root, depth)


def _resolve(root: Any, reference: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    node = root
    for token in reference[1:].split("/")[1:]:
        node = node.get(token.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node


def _without(schema: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    merged = _without(schema, "allOf")
    for part in schema["allOf"]:
        branch = _resolve(root, part["$ref"]) if "$ref" in part else part
        required = [*merged.get("required", ()), *branch.get("required", ())]
        properties = {**merged.get("properties", {}), **branch.get("properties", {})}
        merged = {**merged, **branch, "required": required, "properties": properties}
    return merged


def _type_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    names = schema.get("required", list(properties))
    return {name: _make(properties.get(name, {"type": "string"}), root, depth + 1) for name in names}


def _array(schema: dict[str, Any], root: Any, depth: int) -> list[Any]:
    count = min(int(schema.get("minItems", 0)), 100)
    return [_make(schema.get("items", True), root, depth + 1) for _ in range(count)]


def _string(schema: dict[str, Any], _root: Any, _depth: int) -> str:
    text = _FORMATS.get(schema.get("format", ""), "simulated")
    text = text.ljust(min(int(schema.get("minLength", 0)), 10_000), ".")
    return text[: schema["maxLength"]] if "maxLength" in schema else text


def _integer(schema: dict[str, Any], root: Any, depth: int) -> int:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", min(0, schema.get("maximum", 0)) - 1) + 1)
    return int(-(-low // step) * step)


def _number(schema: dict[str, Any], root: Any, depth: int) -> float:
    if "minimum" in schema:
        return float(schema["minimum"])
    low, high = schema.get("exclusiveMinimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None:
        return float((low + high) / 2 if high is not None else low + 1)
    return 0.0 if high is None or high > 0 else float(high - 1)


def _boolean(_schema: dict[str, Any], _root: Any, _depth: int) -> bool:
    return False


def _null(_schema: dict[str, Any], _root: Any, _depth: int) -> None:
    return None


_BY_TYPE: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
