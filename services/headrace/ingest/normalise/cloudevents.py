"""CloudEvents 1.0 over Kafka: binary mode (attributes in ``ce_`` headers) and structured mode (the whole event as JSON).

The ``cloudevents`` library judges the attributes. Parsing is ours, since the library's draws a random id and the current time for
what is missing, and its JSON reader is not strict: both would make a re-read differ from the first read.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from headrace.ingest.normalise.content import decode_data
from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.ingest.normalise.times import rfc3339
from headrace.messages.errors import RejectedMessage

_REQUIRED: Final = ("specversion", "id", "source", "type")
_OPTIONAL: Final = ("subject", "datacontenttype", "dataschema", "time")  # null counts as absent


@dataclass(frozen=True, slots=True)
class Parts:
    """A CloudEvent that passed: its attributes as they came, and its data as a JSON value."""

    attributes: Mapping[str, Any]
    data: Any


def normalise(delivery: Delivery) -> list[Draft]:
    """A CloudEvent keeps its id, source, type, subject and time."""
    attributes = delivery.content.attributes
    return [
        Draft(
            id=attributes["id"],
            source=attributes["source"],
            type=attributes["type"],
            subject=attributes.get("subject"),
            time=rfc3339(attributes.get("time")) or delivery.received,
            partition_key=str(attributes.get("partitionkey") or "") or None,
            data=delivery.content.data,
        )
    ]


def from_binary(headers: Mapping[str, str], body: bytes) -> Parts:
    """Raises ``RejectedMessage`` (attributes) or ``UndecodableMessage`` (data)."""
    attributes: dict[str, Any] = {
        key[3:].lower(): value for key, value in headers.items() if key[:3].lower() == "ce_" and value
    }
    content_type = headers.get("content-type", "")
    if content_type:
        attributes["datacontenttype"] = content_type
    _validate(attributes)
    return Parts(attributes, decode_data(body, content_type) if body else None)


def from_structured(event: Any) -> Parts:
    """``event`` is the parsed JSON. Raises ``RejectedMessage`` or ``UndecodableMessage``."""
    if not isinstance(event, dict):
        raise _bad("a CloudEvent is an object", "/")
    attributes = {
        key: value
        for key, value in event.items()
        if key not in ("data", "data_base64") and not (value is None and key in _OPTIONAL)
    }
    _validate(attributes)
    return Parts(attributes, _structured_data(event))


def _structured_data(event: dict[str, Any]) -> Any:
    encoded = event.get("data_base64")
    if encoded is None:
        return event.get("data")
    if "data" in event:
        raise _bad("both data and data_base64", "/data_base64")
    try:
        data = b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise _bad("not base64", "/data_base64") from None
    return decode_data(data, event.get("datacontenttype") or "application/octet-stream")


def _validate(attributes: Mapping[str, Any]) -> None:
    for attribute in _REQUIRED:
        if not attributes.get(attribute):
            raise _bad("required attribute is missing", f"/{attribute}")
    time = rfc3339(attributes["time"]) if "time" in attributes else "1970-01-01T00:00:00Z"
    if time is None or not isinstance(attributes.get("time", ""), str):
        raise _bad("not an RFC 3339 time", "/time")
    try:
        CloudEvent({**attributes, "time": datetime.fromisoformat(time)})
    except CloudEventValidationError as error:
        attribute, reasons = next(iter(error.errors.items()))
        raise _bad(str(reasons[0])[:200], f"/{attribute[:64]}") from None


def _bad(message: str, where: str) -> RejectedMessage:
    return RejectedMessage(f"CloudEvent: {message}", cause="cloudevent", where=where)
