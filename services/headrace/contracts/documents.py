"""The contracts as documents: JSON Schema 2020-12 for every message, Avro for the topics of data platforms.

Pydantic models are the source; this file turns them into text that never changes by itself (sorted by model, no
dates, no network references), so that a difference to the committed file is a change somebody made.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from headrace.messages.base import Message
from headrace.messages.catalog import MESSAGES
from headrace.messages.codec import AVRO_FORMS
from headrace.messages.event import Envelope, RawDelivery

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE: Final = "schema.json"
AVRO_FILE: Final = "schema.avsc"


class StructuredCloudEvent(BaseModel):
    """A CloudEvent 1.0 in structured mode: the attributes and the data in one JSON object. Extension attributes may follow."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: str = Field(min_length=1)
    source: str = Field(min_length=1, description="URI reference")
    type: str = Field(min_length=1)
    subject: str | None = Field(default=None, min_length=1)
    time: str | None = Field(default=None, description="RFC 3339")
    datacontenttype: str | None = None
    dataschema: str | None = None
    data: Any = None
    data_base64: str | None = None


RAW_VALUE: Final[TypeAdapter[Any]] = TypeAdapter(Envelope | StructuredCloudEvent)
_RAW_DESCRIPTION: Final = (
    "The value of a record that comes without CloudEvents headers: a plain envelope, or a CloudEvent in structured mode. "
    "A record with `ce_*` headers holds the sender's bytes untouched, whatever they are."
)


class _Plain(GenerateJsonSchema):
    """Without a title per field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: core_schema.CoreSchema | Any) -> bool:
        return False


def validator(message: type[Message]) -> TypeAdapter[Any]:
    """What accepts exactly the values of the message's topic."""
    return RAW_VALUE if message is RawDelivery else TypeAdapter(message)


def version(message: type[Message]) -> str:
    """Version of the message that this code writes, such as ``1.1``."""
    for name in ("version", "schema_version"):
        if field := message.model_fields.get(name):
            return str(field.default)
    return "1.0"


def json_schema(message: type[Message]) -> dict[str, Any]:
    """JSON Schema of the values on the message's topic."""
    body = validator(message).json_schema(ref_template="#/$defs/{model}", schema_generator=_Plain)
    head: dict[str, Any] = {"$schema": DIALECT, "$id": f"urn:headrace:{message.TOPIC}:{version(message).split('.')[0]}"}
    head["title"] = message.__name__
    if message is RawDelivery:
        head["description"] = _RAW_DESCRIPTION
    return head | body


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
