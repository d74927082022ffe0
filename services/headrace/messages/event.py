"""Events: as they arrive (``ingest.raw``) and as everybody else sees them (``ingest.events``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, Format, Message, Part, Version

Text = Annotated[str, Meta(min_length=1)]

WEBHOOK_TYPE = "dev.headrace.webhook.received"
HTTP_HEADERS = (
    "http-headers"  # record header of a webhook delivery: the sender's own headers that matter, a JSON object
)


class Envelope(Part, frozen=True, kw_only=True):
    """The plain envelope that any producer can write to ``ingest.raw``, or post to ``/events``.

    Without an ``id`` the record's position names the event, so give one where the producer may send twice.
    """

    source: Annotated[str, Meta(min_length=1, max_length=512)]
    event_type: Annotated[str, Meta(min_length=1, max_length=256)]
    payload: Any
    id: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    subject: Annotated[str, Meta(max_length=1024)] | None = None
    time: Annotated[str, Meta(max_length=64)] | None = None
    tenant: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    partition_key: Annotated[str, Meta(min_length=1, max_length=512)] | None = None


class RawDelivery(Message, frozen=True, kw_only=True):
    """One record of ``ingest.raw``, its bytes untouched: ``body`` is what the sender signed.

    ``headers`` are the record's headers; the gateway adds ``http-headers`` (JSON) with the HTTP headers that the source's
    normaliser needs. A record without CloudEvents headers is an envelope or a structured CloudEvent by its content.
    """

    TOPIC: ClassVar[str] = "ingest.raw"
    TYPE: ClassVar[str] = WEBHOOK_TYPE
    FORMAT: ClassVar[Format] = "raw"

    body: bytes
    headers: Mapping[str, str] = {}
    key: str | None = None

    def message_id(self) -> str:
        return self.headers.get("ce_id", "")

    def record_key(self) -> str | None:
        return self.key


class Origin(Part, frozen=True, kw_only=True):
    """Where a canonical event came from: enough to find the raw record again."""

    kind: Literal["webhook", "cloudevent", "envelope"]
    topic: str
    partition: int
    offset: int
    index: int = 0  # place within a batch that fanned out
    delivery_id: str | None = None


class Event(Message, frozen=True, kw_only=True):
    """A canonical event: one thing that happened, whoever sent it."""

    TOPIC: ClassVar[str] = "ingest.events"
    TYPE: ClassVar[str] = "dev.headrace.event"

    schema_version: Version = SCHEMA_VERSION
    uid: Annotated[str, Meta(description="ids.event_uid(tenant, source, id)")]
    id: Annotated[Text, Meta(description="The sender's id of the event, unique within source")]
    source: Annotated[Text, Meta(description="URI reference of the sender's context (CloudEvents source)")]
    type: Annotated[Text, Meta(description="Reverse-DNS type, such as com.github.pull_request.opened")]
    subject: str | None = None
    time: Annotated[str, Meta(description="RFC 3339: when it happened, or was received if the sender does not say")]
    tenant: str
    partition_key: Text
    data: Any
    actor: str | None = None
    url: str | None = None
    severity: str | None = None
    origin: Origin

    def message_id(self) -> str:
        return self.uid

    def record_key(self) -> str:
        return self.partition_key

    def attributes(self) -> dict[str, str]:
        attributes = {"eventid": self.id, "eventsource": self.source, "eventtype": self.type, "tenant": self.tenant}
        if self.subject:
            attributes["subject"] = self.subject
        return attributes
