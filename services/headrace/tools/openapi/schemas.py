"""From a schema of an OpenAPI description to one of JSON Schema 2020-12 that stands by itself.

Only what can be reached from it is taken along, under ``$defs``. OpenAPI 3.0's own words (``nullable``, a boolean
``exclusiveMinimum``) become JSON Schema's; what a client must not send (``readOnly``) is not required. ``pattern`` and ``format``
are left to the server: descriptions have patterns of many dialects, and a wrong one would refuse what is right.
"""

from __future__ import annotations

from typing import Any, Final

import jsonschema_rs

from headrace.messages.base import JsonObject
from headrace.registry.schemas import InvalidSchema, compile_schema
from headrace.tools.openapi.document import ApiDocument
from headrace.tools.openapi.errors import SpecProblem

MAX_PARTS: Final = 50_000  # schemas that one operation may reach
_MAX_DEPTH: Final = 64
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE: Final = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
    | {"unevaluatedProperties", "unevaluatedItems"}
)
_VALUES: Final = frozenset(
    {"type", "enum", "const", "required", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"}
    | {"minProperties", "maxProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"minContains", "maxContains", "dependentRequired"}
)


def validator(document: ApiDocument, schema: Any) -> jsonschema_rs.Validator:
    """Raises ``SpecProblem`` for a schema that is none."""
    try:
        return compile_schema(_Bundle(document).whole(schema))
    except InvalidSchema as error:
        raise SpecProblem(f"the description has a schema that can't be used: {str(error)[:200]}") from None


class _Bundle:
    def __init__(self, document: ApiDocument) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._waiting: list[str] = []
        self._parts = 0

    def whole(self, schema: Any) -> JsonObject:
        made = self._schema(schema, 0)
        definitions: JsonObject = {}
        while self._waiting:
            ref = self._waiting.pop()
            definitions[self._names[ref]] = self._schema(self._document.resolve(self._document.at(ref)), 0)
        return {"allOf": [made], "$defs": definitions}

    def _schema(self, schema: Any, depth: int) -> Any:
        self._parts += 1
        if depth > _MAX_DEPTH or self._parts > MAX_PARTS:
            raise SpecProblem("a schema of the description is too large")
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else True
        made = self._keywords(schema, depth)
        ref = schema.get("$ref")
        if isinstance(ref, str):
            named = {"$ref": f"#/$defs/{self._name(ref)}"}
            return named if self._document.v30 else made | named
        return _of_openapi_30(schema, made) if self._document.v30 else made

    def _keywords(self, schema: JsonObject, depth: int) -> JsonObject:
        made: JsonObject = {}
        for key, value in schema.items():
            if key in _MAPS and isinstance(value, dict):
                made[key] = {name: self._schema(each, depth + 1) for name, each in value.items()}
            elif key in _LISTS and isinstance(value, list):
                made[key] = [self._schema(each, depth + 1) for each in value]
            elif key in _SINGLE:
                made[key] = self._schema(value, depth + 1)
            elif key in _VALUES:
                made[key] = value
        if isinstance(required := made.get("required"), list):
            made["required"] = [name for name in required if not self._is_read_only(schema, name)]
        return made

    def _is_read_only(self, schema: JsonObject, name: Any) -> bool:
        properties = schema.get("properties")
        found = properties.get(name) if isinstance(properties, dict) else None
        return isinstance(found, dict) and self._document.resolve(found).get("readOnly") is True

    def _name(self, ref: str) -> str:
        if ref not in self._names:
            self._names[ref] = f"s{len(self._names)}"
            self._waiting.append(ref)
        return self._names[ref]


def _of_openapi_30(schema: JsonObject, made: JsonObject) -> JsonObject:
    for bound in ("minimum", "maximum"):
        exclusive = "exclusive" + bound.capitalize()
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and bound in made:
            made[exclusive] = made.pop(bound)
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made
