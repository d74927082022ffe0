"""The plain envelope ``{source, event_type, payload, ...}``: the least that a producer has to write."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.ingest.normalise.times import rfc3339
from headrace.messages.codec import explained
from headrace.messages.errors import RejectedMessage
from headrace.messages.event import Envelope


def parse(value: Any) -> Envelope:
    """Raises ``RejectedMessage`` with the path of the first thing that is wrong."""
    try:
        envelope = Envelope.checked(value)
    except msgspec.ValidationError as error:
        text, where = explained(error)
        raise RejectedMessage(f"envelope: {text}", cause="envelope", where=where) from None
    if envelope.time is not None and rfc3339(envelope.time) is None:
        raise RejectedMessage("envelope: not an RFC 3339 time", cause="envelope", where="/time")
    return envelope


def normalise(delivery: Delivery) -> list[Draft]:
    """The event of an envelope; without an ``id`` its place in the log names it."""
    envelope: Envelope = delivery.content
    return [
        Draft(
            id=delivery.fallback_id(),
            source=envelope.source,
            type=envelope.event_type,
            subject=envelope.subject,
            time=rfc3339(envelope.time) or delivery.received,
            partition_key=envelope.partition_key,
            data=envelope.payload,
        )
    ]
