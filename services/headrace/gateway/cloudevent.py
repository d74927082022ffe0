"""CloudEvents 1.0 over HTTP: the three content modes, each to records of ``ingest.raw``.

Attributes are checked by the ``cloudevents`` library's event class. Decoding is done here, since the library's HTTP binding
replaces invalid UTF-8, makes up an id where none was given, and takes data that is not JSON as text. Binary mode keeps the body
as the record's value; structured mode keeps the whole event's own bytes, also of each event in a batch.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from headrace.gateway.body import is_json, media_type, parse_json
from headrace.gateway.problems import HttpError
from headrace.messages.event import RawDelivery

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_MAX_LENGTH: Final = {"id": 512, "source": 512, "type": 256, "partitionkey": 512, "subject": 1024}
_MAX_OTHER: Final = 4096
_MAX_ATTRIBUTES: Final = 40
_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_RESERVED: Final = frozenset({"dataref"})  # a claim check: would let a sender name any stored content as its own
_OWN: Final = {"type": "dev.headrace.", "source": "/headrace/"}  # as whom only the mesh itself speaks
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # CloudEvents "String"
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


def binary(headers: Mapping[str, str], body: bytes, tenant: str) -> RawDelivery:
    """Binary mode: attributes in ``ce-*`` headers, data as the body."""
    attributes = {name[3:]: _header_value(name, value) for name, value in headers.items() if name.startswith("ce-")}
    content_type = headers.get("content-type", "")
    if content_type and body:
        attributes["datacontenttype"] = content_type
    validate(attributes, "", prefix="ce-")
    if is_json(content_type) and body:
        parse_json(body)
    record = {f"ce_{name}": value for name, value in attributes.items() if name != "datacontenttype"}
    record["ce_tenant"] = tenant
    if content_type and body:
        record["content-type"] = content_type
    return RawDelivery(body=body, headers=record, key=_key(attributes))


def structured(body: bytes, tenant: str) -> RawDelivery:
    """Structured mode: the body is one event in the JSON format."""
    return _structured(parse_json(body), body, tenant, "")


def batch(body: bytes, tenant: str, limit: int) -> list[RawDelivery]:
    """Batched mode: a JSON array of events, each kept as the very bytes it has in the array."""
    events = parse_json(body)
    if not isinstance(events, list):
        raise HttpError(400, "cloudevent", "a batch is a JSON array of events", where="/")
    if len(events) > limit:
        raise HttpError(413, "batch_too_large", f"a batch holds at most {limit} events")
    texts = _elements(body.decode()) if events else []
    return [
        _structured(event, text.encode(), tenant, f"/{index}")
        for index, (event, text) in enumerate(zip(events, texts, strict=True))
    ]


def _structured(event: Any, raw: bytes, tenant: str, where: str) -> RawDelivery:
    if not isinstance(event, dict):
        raise HttpError(400, "cloudevent", "an event is a JSON object", where=where or "/")
    attributes = {k: v for k, v in event.items() if k not in ("data", "data_base64") and v is not None}
    validate(attributes, where)
    _check_data(event, where)
    record = {"content-type": STRUCTURED, "ce_tenant": tenant}
    return RawDelivery(body=raw, headers=record, key=_key(attributes))


def _check_data(event: Mapping[str, Any], where: str) -> None:
    encoded = event.get("data_base64")
    if encoded is None:
        return
    if event.get("data") is not None:
        raise HttpError(400, "cloudevent", "data and data_base64 exclude each other", where=f"{where}/data_base64")
    try:
        base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise HttpError(400, "cloudevent", "not base64", where=f"{where}/data_base64") from None


def validate(attributes: Mapping[str, Any], where: str, *, prefix: str = "") -> None:
    """Raises ``HttpError`` 400 naming the first attribute that breaks CloudEvents 1.0 or our bounds."""

    def bad(name: str, message: str) -> HttpError:
        path = f"{prefix}{name[:64]}" if prefix else f"{where}/{name[:64]}"
        return HttpError(400, "cloudevent", message, where=path)

    for name in _REQUIRED:
        if name not in attributes:
            raise bad(name, "a required attribute is missing")
    if len(attributes) > _MAX_ATTRIBUTES:
        raise HttpError(400, "cloudevent", f"more than {_MAX_ATTRIBUTES} attributes", where=where or None)
    for name, value in attributes.items():
        if message := _attribute_error(name, value):
            raise bad(name, message)
    try:
        CloudEvent({**attributes, "time": _time(attributes)} if "time" in attributes else dict(attributes))
    except CloudEventValidationError as error:
        raise bad(next(iter(error.errors)), "not a valid CloudEvents 1.0 attribute") from None


def _attribute_error(name: str, value: Any) -> str | None:
    if not _NAME.fullmatch(name):
        return "attribute names are 1 to 64 lower-case letters and digits"
    if name in _RESERVED:
        return "this attribute can't be set by a sender"
    if isinstance(value, bool) or (isinstance(value, int) and -(2**31) <= value < 2**31):
        return None
    if not isinstance(value, str):
        return "attributes are strings, booleans or 32-bit integers"
    if len(value) > _MAX_LENGTH.get(name, _MAX_OTHER):
        return f"longer than {_MAX_LENGTH.get(name, _MAX_OTHER)} characters"
    if _FORBIDDEN.search(value):
        return "control characters are not allowed"
    if name in _OWN and value.startswith(_OWN[name]):
        return "this name is the mesh's own"
    if name == "time" and not _TIME.fullmatch(value):
        return "not an RFC 3339 time"
    return None


def _time(attributes: Mapping[str, Any]) -> Any:
    """``time`` as the library wants it; left as it is where it names no real moment, so that the library refuses it."""
    value = attributes["time"]
    try:
        return datetime.fromisoformat(value.upper()) if isinstance(value, str) else value
    except ValueError:
        return value


def _header_value(name: str, value: str) -> str:
    """HTTP binding 3.1.3.2: one layer of quotes off, percent-decode once, and the result must be UTF-8."""
    if quoted := _QUOTED.fullmatch(value.strip()):
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    if not value.isascii():
        raise HttpError(400, "cloudevent", "characters outside ASCII must be percent-encoded", where=name)
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise HttpError(400, "cloudevent", "not percent-encoded UTF-8", where=name) from None


def _elements(text: str) -> list[str]:
    """The text of each element of a JSON array that is known to be valid and not empty."""
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n,]*")
    position = text.index("[") + 1
    elements: list[str] = []
    while True:
        position = _end(space, text, position)
        if text[position] == "]":
            return elements
        _, end = decoder.raw_decode(text, position)
        elements.append(text[position:end])
        position = end


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _key(attributes: Mapping[str, Any]) -> str:
    return str(attributes.get("partitionkey") or attributes["id"])


def mode(headers: Mapping[str, str]) -> str:
    """``batch``, ``structured``, ``binary``, or ``plain`` for JSON that says nothing about itself. 415 for another format."""
    media = media_type(headers.get("content-type", ""))
    if media == BATCH:
        return "batch"
    if media == STRUCTURED:
        return "structured"
    if media.startswith("application/cloudevents"):
        message = f"of the CloudEvents formats only {STRUCTURED} and {BATCH} are accepted"
        raise HttpError(415, "content_type", message, where="content-type")
    if any(name.startswith("ce-") for name in headers):
        return "binary"
    if is_json(media):
        return "plain"
    raise HttpError(415, "content_type", "send a CloudEvent, or an envelope as application/json", where="content-type")
