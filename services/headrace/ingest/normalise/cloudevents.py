"""CloudEvents 1.0 over Kafka: binary mode (attributes in ``ce_`` headers) and structured mode (the whole event as JSON).

The ``cloudevents`` library judges the attributes. Parsing is ours, since the library's draws a random id and the current time for
what is missing, and its JSON reader is not strict: both would make a re-read differ from the first read.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from headrace.ingest.normalise.content import decode_data, media_type
from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.ingest.normalise.times import rfc3339
from headrace.messages.errors import RejectedMessage

_REQUIRED: Final = ("specversion", "id", "source", "type")
_OPTIONAL: Final = ("subject", "datacontenttype", "dataschema", "time")  # null counts as absent


class Parts(NamedTuple):
    """A CloudEvent that passed: its attributes as they came, and its data as a JSON value."""

    attributes: Mapping[str, Any]
    data: Any


def normalise(delivery: Delivery) -> list[Draft]:
    """A CloudEvent keeps its id, source, type, subject and time."""
    return [_draft(delivery.content, delivery)]


def normalise_webhook(delivery: Delivery) -> list[Draft]:
    """A CloudEvent, or a batch of them, that came through ``/webhooks/cloudevents``; an event that is there twice counts once.

    Raises:
        RejectedMessage: an attribute is missing or wrong, or two events have one name.
        UndecodableMessage: the data are not what their content type says.
    """
    drafts: dict[tuple[str, str], Draft] = {}
    for index, parts in enumerate(_posted(delivery)):
        draft = _draft(parts, delivery)
        if drafts.setdefault((draft.source, draft.id), draft).data != draft.data:
            raise _bad("two events of one source and id", f"/{index}/id")
    return list(drafts.values())


def _draft(parts: Parts, delivery: Delivery) -> Draft:
    attributes = parts.attributes
    return Draft(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=attributes.get("subject"),
        time=rfc3339(attributes.get("time")) or delivery.received,
        partition_key=str(attributes.get("partitionkey") or "") or None,
        data=parts.data,
    )


def _posted(delivery: Delivery) -> Iterator[Parts]:
    """By content type, as the HTTP binding has it: batch, structured, else binary."""
    media = media_type(delivery.content_type)
    if media == "application/cloudevents-batch+json":
        batch = delivery.json()
        if not isinstance(batch, list) or not batch:
            raise _bad("a batch is a list with something in it", "/")
        yield from map(from_structured, batch)
    elif media.startswith("application/cloudevents"):
        yield from_structured(delivery.json())
    else:
        named = {f"ce_{key[3:]}": value for key, value in delivery.http_headers.items() if key.startswith("ce-")}
        yield from_binary({**named, "content-type": delivery.content_type}, delivery.body)


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
