"""The least instance of a JSON Schema, for agents that there are no rules for.

Best effort over the keywords that agents use: const, enum, default, type, properties, required, items, bounds, local ``$ref``,
and the first branch of ``anyOf``/``oneOf``. The caller checks the result; a schema with a ``pattern``, say, may not be met.
"""

from __future__ import annotations

from typing import Any, Final

_MAX_DEPTH: Final = 16
_MAX_REPEAT: Final = 100


def instance(schema: Any, text: str) -> Any:
    """A value for ``schema``; free strings hold ``text`` where their length allows it."""
    return _value(schema, schema, text, _MAX_DEPTH)


def _value(schema: Any, root: Any, text: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth == 0:
        return None
    schema = _resolved(schema, root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _value({**schema, key: None, **schema[key][0]}, root, text, depth - 1)
    return _of_type(_type(schema), schema, root, text, depth)


def _resolved(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """``schema`` with a local ``$ref`` followed and ``allOf`` merged; siblings win."""
    merged: dict[str, Any] = {}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target = root
        for step in reference.split("/")[1:]:
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        merged.update(target if isinstance(target, dict) else {})
    for part in schema.get("allOf") or ():
        merged.update(part if isinstance(part, dict) else {})
    return {**merged, **schema}


def _type(schema: dict[str, Any]) -> str:
    declared = schema.get("type")
    if isinstance(declared, list):
        declared = next((name for name in declared if name != "null"), "null")
    if isinstance(declared, str):
        return declared
    hints = (
        ("properties", "object"),
        ("required", "object"),
        ("items", "array"),
        ("minLength", "string"),
        ("minimum", "number"),
    )
    return next((name for keyword, name in hints if keyword in schema), "string")


def _of_type(name: str, schema: dict[str, Any], root: Any, text: str, depth: int) -> Any:
    match name:
        case "object":
            properties = schema.get("properties") or {}
            return {key: _value(properties.get(key, {}), root, text, depth - 1) for key in schema.get("required") or ()}
        case "array":
            count = min(int(schema.get("minItems", 0)), _MAX_REPEAT)
            return [_value(schema.get("items", {}), root, text, depth - 1) for _ in range(count)]
        case "integer" | "number":
            return _number(schema, whole=name == "integer")
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _string(schema, text)


def _number(schema: dict[str, Any], *, whole: bool) -> float | int:
    step = 1 if whole else 0.5
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    value = min(max(0, low if low is not None else 0), high if high is not None else float("inf"))
    return int(value) if whole else value


def _string(schema: dict[str, Any], text: str) -> str:
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    fits = text if most is None or len(text) <= most else text[:most]
    return fits if len(fits) >= least else fits.ljust(least, ".")
