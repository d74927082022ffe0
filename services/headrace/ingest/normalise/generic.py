"""A webhook of a sender without a file of its own: passed through whole, under a type that names the sender."""

from __future__ import annotations

import re
from typing import Final

from headrace.ingest.normalise.content import decode_data
from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.messages.errors import RejectedMessage

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def normalise(delivery: Delivery) -> list[Draft]:
    """Type ``webhook.<source>``; data by content type. An empty body is refused: there is nothing to pass on."""
    sender = delivery.source.rpartition("/")[2]
    if not _NAME.fullmatch(sender):
        raise RejectedMessage("no valid sender name", cause="webhook_source", where="header ce_source")
    if not delivery.body:
        raise RejectedMessage("empty body", cause="empty_body", where="byte 0")
    return [
        Draft(
            id=delivery.fallback_id(),
            source=delivery.source,
            type=f"webhook.{sender}",
            time=delivery.received,
            data=decode_data(delivery.body, delivery.content_type),
        )
    ]
