"""What a normaliser gets (``Delivery``) and what it gives (``Draft``), and how a draft becomes a canonical ``Event``.

Here are the bounds that hold for every sender: the names of an event end up in record headers, keys, SQL and ids, so they are
short and free of control characters (``ids`` joins its parts with one).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from headrace.ingest.normalise.times import from_millis, rfc3339
from headrace.messages.errors import RejectedMessage
from headrace.messages.event import Event, Origin
from headrace.messages.headers import SOURCE_PREFIX
from headrace.messages.ids import event_uid
from headrace.messages.json_check import check
from headrace.runtime.api import Source

Form = Literal["webhook", "cloudevent", "envelope"]

MAX_ID: Final = 512
MAX_SOURCE: Final = 1024
MAX_TYPE: Final = 256
MAX_SUBJECT: Final = 1024
MAX_TENANT: Final = 128
MAX_KEY: Final = 512
_OWN_TYPES: Final = "dev.headrace."
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One raw record, opened. ``id`` is the sender's name for it, unique within ``source``; None if the sender has none.

    ``content`` is what the form already had to parse (the attributes and data of a CloudEvent, an envelope); a webhook's body is
    left to its sender's normaliser. ``written_ms`` is when the record was written to the log, ``ce_time`` when the gateway took the
    delivery in, as it says. ``position`` is where the record is, ``place`` where it was first
    read (another one after a redrive).
    """

    form: Form
    source: str
    id: str | None
    tenant: str
    written_ms: int
    position: Source
    place: str
    body: bytes
    content_type: str = ""
    http_headers: Mapping[str, str] = {}
    content: Any = None
    ce_time: str | None = None

    @property
    def received(self) -> str:
        """When the gateway took it in, else when it was written to the log: the same at each reading, unlike a clock. RFC 3339."""
        return rfc3339(self.ce_time) or from_millis(self.written_ms)

    def json(self) -> Any:
        """The body, parsed strictly. Raises ``UndecodableMessage``."""
        return check(self.body)

    def fallback_id(self) -> str:
        """The id of an event whose sender names none: its place in the log, which a re-read or a redrive finds again."""
        return self.id or self.place


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical event but for what every event of the delivery shares. ``partition_key`` defaults to source and subject."""

    id: str
    source: str
    type: str
    time: str
    data: Any
    subject: str | None = None
    partition_key: str | None = None
    actor: str | None = None
    url: str | None = None
    severity: str | None = None


def to_event(draft: Draft, delivery: Delivery, index: int, *, id_suffix: str = "") -> Event:
    """The canonical event. ``id_suffix`` keeps apart deliveries of one id with different content.

    Raises:
        RejectedMessage: a name is too long, empty, has control characters, or is one of the mesh's own; ``where`` says which.
    """
    event_id = name(draft.id + id_suffix, "id", MAX_ID + len(id_suffix))
    source = name(draft.source, "source", MAX_SOURCE)
    if delivery.form == "webhook" and (source.startswith(SOURCE_PREFIX) or draft.type.startswith(_OWN_TYPES)):
        raise RejectedMessage("only the mesh itself speaks as this", cause="reserved", where="/source or /type")
    subject = name(draft.subject, "subject", MAX_SUBJECT) if draft.subject else None
    return Event(
        uid=event_uid(delivery.tenant, source, event_id),
        id=event_id,
        source=source,
        type=name(draft.type, "type", MAX_TYPE),
        subject=subject,
        time=draft.time,
        tenant=delivery.tenant,
        partition_key=_bounded_key(draft.partition_key or (f"{source}#{subject}" if subject else source)),
        data=draft.data,
        actor=draft.actor,
        url=draft.url,
        severity=draft.severity,
        origin=Origin(
            kind=delivery.form,
            topic=delivery.position.topic,
            partition=delivery.position.partition,
            offset=delivery.position.offset,
            index=index,
            delivery_id=delivery.id,
        ),
    )


def name(value: str, where: str, limit: int) -> str:
    """``value`` if it can name something: 1 to ``limit`` characters, none of them a control character."""
    if not value:
        raise RejectedMessage("empty name", cause="empty_name", where=f"/{where}")
    if len(value) > limit:
        raise RejectedMessage(f"longer than {limit} characters", cause="too_long", where=f"/{where}")
    if not value.isprintable() and _CONTROL.search(value):
        raise RejectedMessage("control character in a name", cause="control_character", where=f"/{where}")
    return value


def _bounded_key(key: str) -> str:
    """A key past the bound keeps its beginning, for the reader, and its hash, for the order."""
    if len(key) <= MAX_KEY:
        return key
    return f"{key[: MAX_KEY - 65]}~{sha256(key.encode()).hexdigest()}"
