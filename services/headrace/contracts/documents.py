"""The contracts as documents: JSON Schema 2020-12 for every message, Avro for the topics of data platforms.

The message classes are the source; this file turns them into text that never changes by itself (sorted by model, no
dates, no network references), so that a difference to the committed file is a change somebody made.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from msgspec import Meta

from headrace.messages.base import Message, Part
from headrace.messages.catalog import MESSAGES
from headrace.messages.codec import AVRO_FORMS, default_version
from headrace.messages.event import Envelope, RawDelivery
from headrace.messages.job import HAS_WORK, Job

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE: Final = "schema.json"
AVRO_FILE: Final = "schema.avsc"
_REF: Final = "#/$defs/{name}"
_Text = Annotated[str, Meta(min_length=1)]


class StructuredCloudEvent(Part, frozen=True, kw_only=True):
    """A CloudEvent 1.0 in structured mode: the attributes and the data in one JSON object. Extension attributes may follow."""

    specversion: Literal["1.0"]
    id: _Text
    source: Annotated[_Text, Meta(description="URI reference")]
    type: _Text
    subject: _Text | None = None
    time: Annotated[str | None, Meta(description="RFC 3339")] = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    data: Any = None
    data_base64: str | None = None


RAW_VALUES: Final[tuple[type[Part], ...]] = (Envelope, StructuredCloudEvent)
_RAW_DESCRIPTION: Final = (
    "The value of a record that comes without CloudEvents headers: a plain envelope, or a CloudEvent in structured mode. "
    "A record with `ce_*` headers holds the sender's bytes untouched, whatever they are."
)
_RULES: Final[dict[type[Part], dict[str, Any]]] = {  # what a class checks of itself
    Job: HAS_WORK,
    StructuredCloudEvent: {"additionalProperties": True},
}


def values(message: type[Message]) -> tuple[type[Part], ...]:
    """What a value of the message's topic may be."""
    return RAW_VALUES if message is RawDelivery else (message,)


def version(message: type[Message]) -> str:
    """Version of the message that this code writes, such as ``1.1``."""
    return "1.0" if message is RawDelivery else default_version(message)


def json_schema(message: type[Message]) -> dict[str, Any]:
    """JSON Schema of the values on the message's topic."""
    parts = part_schemas(values(message))
    head: dict[str, Any] = {"$schema": DIALECT, "$id": f"urn:headrace:{message.TOPIC}:{version(message).split('.')[0]}"}
    head["title"] = message.__name__
    if message is RawDelivery:
        body: dict[str, Any] = {"anyOf": [{"$ref": _REF.format(name=one.__name__)} for one in RAW_VALUES]}
        return head | {"description": _RAW_DESCRIPTION, "$defs": parts} | body
    body = parts.pop(message.__name__)
    return head | ({"$defs": parts} if parts else {}) | body


def part_schemas(models: tuple[type[Part], ...]) -> dict[str, dict[str, Any]]:
    """The schemas of ``models`` and of all that they are made of, by name."""
    _, components = msgspec.json.schema_components(models, ref_template=_REF)
    known = {one.__name__: one for one in _all_parts(models)}
    return {name: _finished(known[name], components[name]) for name in sorted(components)}


def _all_parts(models: tuple[type[Part], ...]) -> set[type[Part]]:
    """``models`` and every ``Part`` below their fields."""
    found: set[type[Part]] = set()
    waiting = [*msgspec.inspect.multi_type_info(models)]
    while waiting:
        match waiting.pop():
            case msgspec.inspect.StructType(cls=cls, fields=fields) if cls not in found and issubclass(cls, Part):
                found.add(cls)
                waiting += [field.type for field in fields]
            case msgspec.inspect.UnionType(types=types):
                waiting += types
            case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.Metadata(type=item):
                waiting.append(item)
    return found


def _finished(model: type[Part], schema: dict[str, Any]) -> dict[str, Any]:
    properties = {field.encode_name: field for field in msgspec.structs.fields(model)}
    for name, node in schema["properties"].items():
        if isinstance(default := properties[name].default, Part):
            node["default"] = default.plain()
    if not schema["required"]:
        del schema["required"]
    if model.__doc__:
        schema["description"] = inspect.cleandoc(model.__doc__)
    return dict(sorted((_tidy(schema) | _RULES.get(model, {})).items()))


def _tidy(node: Any) -> Any:
    """Keywords in order, words of a set as text, and objects of any kind said to be so."""
    if isinstance(node, list | tuple):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(node[key]) for key in sorted(node) if key not in ("properties", "default", "enum")}
    if "properties" in node:
        tidy["properties"] = {name: _tidy(inner) for name, inner in node["properties"].items()}
    if "default" in node and node["default"] != {}:
        tidy["default"] = list(node["default"]) if node["default"] == () else node["default"]
    if words := node.get("enum"):
        tidy |= {"const": words[0]} if len(words) == 1 else {"enum": words}
        tidy["type"] = "string"
    if tidy.get("type") == "object" and tidy.keys() <= {"type", "description"}:
        tidy["additionalProperties"] = True
    return dict(sorted(tidy.items()))


def documents() -> dict[str, bytes]:
    """All contract files: path below ``schemas/`` -> content."""
    files: dict[str, bytes] = {}
    for message in MESSAGES:
        files[f"{message.TOPIC}/{SCHEMA_FILE}"] = _text(json_schema(message))
        if form := AVRO_FORMS.get(message):
            files[f"{message.TOPIC}/{AVRO_FILE}"] = _text(form.schema)
    return files


def _text(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
