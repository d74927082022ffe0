"""Is a changed contract still v1? Compares a schema with a released one.

v1.x may only add optional fields, so that every reader and writer of any v1.x understands every other, in both
directions. Hence a released field is never removed, renamed, retyped or given another default (a field at its default does not
travel), nothing becomes required, and no constraint gets tighter. Looser constraints are allowed: set readers free before
writers use it. A keyword outside the table below must not change at all.

For Avro that rule is stricter than BACKWARD and FORWARD together, so a registry never refuses what passes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from headrace.contracts.problem import Problem

Schema = dict[str, Any]
_ABSENT: Final = object()
_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$defs", "$comment", "title", "description", "examples"})


def compare_json(name: str, old: Schema, new: Schema) -> list[Problem]:
    """What in JSON Schema ``new`` breaks the released ``old``."""
    return [Problem(f"{name} {where or '/'}", what) for where, what in _JsonWalk(old, new).walk(old, new, "")]


def compare_avro(name: str, old: Schema, new: Schema) -> list[Problem]:
    """What in Avro schema ``new`` breaks the released ``old``."""
    return [Problem(f"{name} {where or '/'}", what) for where, what in _AvroWalk().walk(old, new, "")]


Found = Iterator[tuple[str, str]]


class _JsonWalk:
    """Walks two JSON Schemas side by side, through local references."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str]] = set()

    def walk(self, old: Any, new: Any, where: str) -> Found:
        if isinstance(old, dict) and isinstance(new, dict):
            pair = (str(old.get("$ref")), str(new.get("$ref")))
            if "$ref" in old and "$ref" in new:
                if pair in self._seen:
                    return
                self._seen.add(pair)
            yield from self._objects(_resolve(self._old, old), _resolve(self._new, new), where)
        elif old != new:
            yield where, f"changed from {old!r} to {new!r}"

    def _objects(self, old: Schema, new: Schema, where: str) -> Found:
        yield from self._fields(old, new, where)
        if "const" in old and "enum" in new:  # the one word that there was, and more
            old = {key: value for key, value in old.items() if key != "const"} | {"enum": [old["const"]]}
        for keyword in sorted((old.keys() | new.keys()) - _ANNOTATIONS - {"properties", "required"}):
            before, after = old.get(keyword, _ABSENT), new.get(keyword, _ABSENT)
            if keyword in ("items", "not", "additionalProperties") and isinstance(before, dict):
                yield from self.walk(before, after, f"{where}/{keyword}")
            elif keyword in ("anyOf", "oneOf", "allOf"):
                yield from self._alternatives(before, after, f"{where}/{keyword}")
            elif not _ALLOWED.get(keyword, _same)(before, after):
                yield f"{where}/{keyword}", f"changed from {_show(before)} to {_show(after)}"

    def _fields(self, old: Schema, new: Schema, where: str) -> Found:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield f"{where}/properties/{name}", "is now required: within v1 a field may only be added as optional"
        for name in before:
            if name in after:
                yield from self.walk(before[name], after[name], f"{where}/properties/{name}")
            else:
                yield f"{where}/properties/{name}", "was removed or renamed: keep it, within v1"

    def _alternatives(self, before: Any, after: Any, where: str) -> Found:
        if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
            yield where, "the alternatives changed"
            return
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from self.walk(old, new, f"{where}/{index}")


class _AvroWalk:
    """Walks two Avro schemas side by side; a named type is compared once."""

    def __init__(self) -> None:
        self._names: list[dict[str, Any]] = [{}, {}]
        self._seen: set[str] = set()

    def walk(self, old: Any, new: Any, where: str) -> Found:
        old, new = self._named(0, old), self._named(1, new)
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for before, after in zip(old, new, strict=True):
                yield from self.walk(before, after, where)
        elif isinstance(old, dict) and isinstance(new, dict) and _kind(old) == _kind(new):
            yield from self._complex(old, new, where)
        elif old != new:
            yield where, f"type changed from {_kind(old)} to {_kind(new)}"

    def _complex(self, old: Schema, new: Schema, where: str) -> Found:
        if old["type"] == "array":
            yield from self.walk(old["items"], new["items"], where)
        elif old["type"] == "record" and _kind(old) not in self._seen:
            self._seen.add(_kind(old))
            yield from self._record(old, new, where)
        elif old["type"] not in ("array", "record") and old != new:
            yield where, "the type's properties changed"

    def _record(self, old: Schema, new: Schema, where: str) -> Found:
        before = {field["name"]: field for field in old["fields"]}
        after = {field["name"]: field for field in new["fields"]}
        for name, field in before.items():
            if name not in after:
                yield f"{where}/{name}", "was removed or renamed: keep it, within v1"
                continue
            yield from self.walk(field["type"], after[name]["type"], f"{where}/{name}")
            if field.get("default", _ABSENT) != after[name].get("default", _ABSENT) and "default" in field:
                yield f"{where}/{name}", "its default changed"
        for name in after.keys() - before.keys():
            if "default" not in after[name]:
                yield f"{where}/{name}", "was added without a default"

    def _named(self, side: int, schema: Any) -> Any:
        names = self._names[side]
        if isinstance(schema, dict) and schema.get("type") == "record":
            names[_kind(schema)] = schema
        return names.get(schema, schema) if isinstance(schema, str) else schema


def _kind(schema: Any) -> str:
    if isinstance(schema, dict):
        if schema["type"] == "record":
            return f"{schema.get('namespace', '')}.{schema['name']}"
        return str(schema["type"])
    return "a union" if isinstance(schema, list) else str(schema)


def _resolve(root: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        rest = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")] | rest
    return schema


def _show(value: Any) -> str:
    return "nothing" if value is _ABSENT else repr(value)


def _same(old: Any, new: Any) -> bool:
    return bool(old is new or old == new)


def _not_raised(old: Any, new: Any) -> bool:
    return new is _ABSENT or (old is not _ABSENT and new <= old)


def _not_lowered(old: Any, new: Any) -> bool:
    return new is _ABSENT or (old is not _ABSENT and new >= old)


def _not_narrowed(old: Any, new: Any) -> bool:
    return new is _ABSENT or (old is not _ABSENT and set(old) <= set(new))


_ALLOWED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "minLength": _not_raised,
    "minItems": _not_raised,
    "minimum": _not_raised,
    "exclusiveMinimum": _not_raised,
    "maxLength": _not_lowered,
    "maxItems": _not_lowered,
    "maximum": _not_lowered,
    "exclusiveMaximum": _not_lowered,
    "enum": _not_narrowed,
}
