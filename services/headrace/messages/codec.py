"""Messages to and from the bytes of records. No I/O: Kafka, the claim check and the schema registry are elsewhere.

    format   value                                         content-type
    raw      the sender's bytes, untouched                 the sender's
    json     the message without fields at their defaults  application/json
    avro     Confluent wire format: 0, schema id, datum    application/vnd.confluent.avro

The same message always makes the same bytes. A default is part of a v1 contract (``contracts.compat`` refuses to change one), so it
need not travel; the version does, in front, since a reader looks at it first.

Records of this mesh (``ce_source`` below ``/headrace/``) are parsed by msgspec alone. What anybody else wrote, and whatever
msgspec refused, goes through ``json_check`` first, which names what is wrong. Errors carry a place, never a value.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final, NamedTuple, Protocol, cast

import fastavro
import msgspec
from fastavro.types import Schema as ParsedSchema

from headrace.messages import headers as record_headers
from headrace.messages import json_check, strict_json
from headrace.messages.avro import AvroForm
from headrace.messages.base import Message
from headrace.messages.catalog import MESSAGES, message_on
from headrace.messages.errors import FatalError, RejectedMessage, TransientError, UndecodableMessage, UnsupportedVersion
from headrace.messages.event import RawDelivery

JSON_TYPE: Final = "application/json"
AVRO_TYPE: Final = "application/vnd.confluent.avro"
STRUCTURED_TYPE: Final = "application/cloudevents+json"
MAJOR: Final = "1"
AVRO_FORMS: Final[dict[type[Message], AvroForm[Any]]] = {
    message: AvroForm(message) for message in MESSAGES if message.FORMAT == "avro"
}
_WIRE_HEADER: Final = struct.Struct(">bI")
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODERS: Final = {message: msgspec.json.Decoder(message) for message in MESSAGES}
_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([A-Za-z_0-9]+)|\[([0-9]+|\.\.\.)\]")
_MISSING: Final = re.compile(r"missing required field `([A-Za-z_0-9]+)`")


class UnknownSchema(TransientError):
    """A record written with a schema id that is not in ``SchemaIds`` yet: fetch it, then decode again."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} is not loaded")
        self.schema_id = schema_id


class SchemaIds(Protocol):
    """What the codec needs of a schema registry, resolved beforehand and kept in memory."""

    def id_for(self, subject: str) -> int:
        """Id under which our schema of ``subject`` is registered."""
        ...

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The writer's Avro schema (JSON). Raises ``UnknownSchema`` when it was not fetched yet."""
        ...


class Encoded(NamedTuple):
    """A record to produce; ``topic`` is the logical name."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class Codec:
    """Encodes and decodes every message of the catalog. ``schemas`` is needed for Avro topics only."""

    def __init__(self, schemas: SchemaIds | None = None) -> None:
        self._schemas = schemas
        self._readers: dict[type[Message], ParsedSchema] = {
            message: fastavro.parse_schema(form.schema) for message, form in AVRO_FORMS.items()
        }
        self._writers: dict[int, ParsedSchema] = {}
        self._heads: dict[type[Message], bytes] = {}  # of the wire format

    def encode(
        self, message: Message, *, service: str, cause_headers: Mapping[str, str], key: str | None = None
    ) -> Encoded:
        """The record that ``service`` makes while it handles a record with ``cause_headers``. ``key`` overrides the message's.

        Raises:
            RejectedMessage: ``unencodable``, a value that the format can't hold (a lone surrogate in a string).
        """
        record_key = message.record_key() if key is None else key
        value = message.body if isinstance(message, RawDelivery) else self._value(message)
        try:
            key_bytes = None if record_key is None else record_key.encode()
            return Encoded(message.TOPIC, key_bytes, value, _headers(message, service, cause_headers))
        except UnicodeEncodeError:
            raise _unencodable(message) from None

    def decode(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, str]) -> Message:
        """The message of a record on the logical ``topic``.

        Raises:
            UndecodableMessage: ``schema``, ``json*``, ``avro``, ``empty``, ``cloudevent`` or ``unknown_topic``.
            UnsupportedVersion: another major version; ``job_id`` is set where it could be read.
            UnknownSchema: the writer's schema has to be fetched first.
        """
        model = message_on(topic)
        if model is None:
            raise UndecodableMessage(f"no message travels on {topic}", cause="unknown_topic")
        if model is RawDelivery:
            text = None if key is None else key.decode("utf-8", "replace")
            return RawDelivery(body=value or b"", headers=dict(headers), key=text)
        if value is None:
            raise UndecodableMessage("the record has no value", cause="empty")
        if model.FORMAT == "avro":
            return self._decode_avro(model, value)
        return _decode_json(model, value, headers)

    def _value(self, message: Message) -> bytes:
        try:
            if message.FORMAT == "avro":
                return self._encode_avro(message)
            return _encode_json(message)
        except (
            TypeError,
            ValueError,
            OverflowError,
            AttributeError,
            struct.error,
        ):  # UnicodeEncodeError is a ValueError
            raise _unencodable(message) from None

    def _encode_avro(self, message: Message) -> bytes:
        model = type(message)
        head = self._heads.get(model)
        if head is None:
            head = self._heads[model] = _WIRE_HEADER.pack(0, self._ids().id_for(subject(model)))
        return head + AVRO_FORMS[model].encode(message)

    def _decode_avro(self, model: type[Message], value: bytes) -> Message:
        if len(value) < _WIRE_HEADER.size or value[0] != 0:
            raise UndecodableMessage("not the Confluent wire format", cause="avro", where="byte 0")
        writer = self._writer(_WIRE_HEADER.unpack_from(value)[1])
        buffer = BytesIO(value)
        buffer.seek(_WIRE_HEADER.size)
        try:
            datum = fastavro.schemaless_reader(buffer, writer, self._readers[model])
            if buffer.tell() != len(value):
                raise UndecodableMessage("bytes after the datum", cause="avro", where=f"byte {buffer.tell()}")
            return cast("Message", AVRO_FORMS[model].load(cast("dict[str, Any]", datum)))
        except UndecodableMessage:
            raise
        except msgspec.ValidationError as error:
            raise schema_error(error) from None
        except Exception as error:  # fastavro raises whatever the broken bytes lead to: EOFError, IndexError, ...
            raise UndecodableMessage(f"not the Avro datum: {type(error).__name__}", cause="avro") from None

    def _writer(self, schema_id: int) -> ParsedSchema:
        parsed = self._writers.get(schema_id)
        if parsed is None:
            parsed = self._writers[schema_id] = fastavro.parse_schema(self._ids().schema(schema_id))
        return parsed

    def _ids(self) -> SchemaIds:
        if self._schemas is None:
            raise FatalError("an Avro topic needs a schema registry")
        return self._schemas


def subject(model: type[Message]) -> str:
    """Registry subject of a message (TopicNameStrategy, without the cluster's topic prefix)."""
    return f"{model.TOPIC}-value"


def schema_error(error: msgspec.ValidationError) -> UndecodableMessage:
    """``error`` as cause ``schema`` with a JSON pointer to its place. Quotes no input."""
    text, where = explained(error)
    return UndecodableMessage(text, cause="schema", where=where)


def explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, in words that quote no input, and a JSON pointer to it (``*``: any key of an object)."""
    text = str(error)
    steps: list[str] = []
    if place := _PLACE.search(text):
        text = text[: place.start()]
        steps = [name or ("*" if index == "..." else index) for name, index in _STEP.findall(place[1])]
    if missing := _MISSING.search(text):
        steps.append(missing[1])
    if text.startswith("Invalid enum value"):
        text = "Not one of the values that are allowed here"
    return text, "/" + "/".join(steps)


def _headers(message: Message, service: str, cause: Mapping[str, str]) -> record_headers.Encoded:
    if isinstance(message, RawDelivery):
        return record_headers.encode(message.headers)
    return record_headers.binary_mode(
        message_id=message.message_id(),
        type_=message.TYPE,
        service=service,
        content_type=AVRO_TYPE if message.FORMAT == "avro" else JSON_TYPE,
        data_schema=f"{message.TOPIC}/{MAJOR}",
        attributes=message.attributes(),
        cause=cause,
    )


def version_field(model: type[Message]) -> str:
    """Name of the field that says which version a message is of: its first one."""
    return model.__struct_fields__[0]


def default_version(model: type[Message]) -> str:
    """The version that this code writes, such as ``1.1``."""
    return cast("str", model.__struct_defaults__[0])


_VERSIONS: Final = {  # how a message of the default version begins
    message: _ENCODE({version_field(message): default_version(message)})[:-1]
    for message in MESSAGES
    if message.FORMAT != "raw"
}
_VERSION_FIRST: Final = (b'{"version":', b'{"schema_version":')


def _encode_json(message: Message) -> bytes:
    value = _ENCODE(message)
    if value.startswith(_VERSION_FIRST):  # it is not the default one
        return value
    return _VERSIONS[type(message)] + (b"," if len(value) > 2 else b"") + value[1:]


def _decode_json(model: type[Message], value: bytes, headers: Mapping[str, str]) -> Message:
    structured = headers.get(record_headers.CONTENT_TYPE, "").startswith(STRUCTURED_TYPE)
    if not structured and headers.get("ce_source", "").startswith(record_headers.SOURCE_PREFIX):
        try:
            return _DECODERS[model].decode(value)
        except (ValueError, RecursionError):
            pass  # again below, for an error that names the place
    data = json_check.check(value)
    if structured:
        data = _event_data(data)
        value = _ENCODE(data)
    _check_version(model, data)
    try:
        return _DECODERS[model].decode(value)
    except msgspec.ValidationError as error:
        raise schema_error(error) from None


def _event_data(event: Any) -> Any:
    """The data of a structured-mode CloudEvent."""
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise UndecodableMessage("not a CloudEvent 1.0", cause="cloudevent", where="/specversion")
    if "data" in event:
        return event["data"]
    try:
        return strict_json.loads(base64.b64decode(event["data_base64"], validate=True))
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise UndecodableMessage("a CloudEvent without data", cause="cloudevent", where="/data") from None


def _check_version(model: type[Message], data: Any) -> None:
    """Refuse another major before anything else is looked at: its other fields may mean something else."""
    if not isinstance(data, dict):
        return
    field = version_field(model)
    version = data.get(field)
    if isinstance(version, str) and version.partition(".")[0] != MAJOR:
        told = {name: value for name in ("job_id", "reply_to") if isinstance(value := data.get(name), str)}
        raise UnsupportedVersion(
            f"version {version[:16]!r} of {model.TOPIC} is not supported, only {MAJOR}.x", where=f"/{field}", **told
        )


def _unencodable(message: Message) -> RejectedMessage:
    return RejectedMessage(f"{type(message).__name__} holds a value that can't be encoded", cause="unencodable")
