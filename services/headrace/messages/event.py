"""Events: as they arrive (``ingest.raw``) and as everybody else sees them (``ingest.events``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from headrace.messages.base import SCHEMA_VERSION, Format, Message, Part

WEBHOOK_TYPE = "dev.headrace.webhook.received"
HTTP_HEADERS = (
    "http-headers"  # record header of a webhook delivery: the sender's own headers that matter, a JSON object
)


class Envelope(Part):
    """The plain envelope that any producer can write to ``ingest.raw``, or post to ``/events``.

    Without an ``id`` the record's position names the event, so give one where the producer may send twice.
    """

    source: str = Field(min_length=1, max_length=512)
    event_type: str = Field(min_length=1, max_length=256)
    payload: Any
    id: str | None = Field(default=None, min_length=1, max_length=512)
    subject: str | None = Field(default=None, max_length=1024)
    time: str | None = Field(default=None, max_length=64)
    tenant: str | None = Field(default=None, min_length=1, max_length=128)
    partition_key: str | None = Field(default=None, min_length=1, max_length=512)


class RawDelivery(Message):
    """One record of ``ingest.raw``, its bytes untouched: ``body`` is what the sender signed.

    ``headers`` are the record's headers; the gateway adds ``http-headers`` (JSON) with the HTTP headers that the source's
    normaliser needs. A record without CloudEvents headers is an envelope or a structured CloudEvent by its content.
    """

    TOPIC: ClassVar[str] = "ingest.raw"
    TYPE: ClassVar[str] = WEBHOOK_TYPE
    FORMAT: ClassVar[Format] = "raw"

    body: bytes
    headers: Mapping[str, str] = Field(default_factory=dict)
    key: str | None = None

    def message_id(self) -> str:
        return self.headers.get("ce_id", "")

    def record_key(self) -> str | None:
        return self.key


class Origin(Part):
    """Where a canonical event came from: enough to find the raw record again."""

    kind: Literal["webhook", "cloudevent", "envelope"]
    topic: str
    partition: int
    offset: int
    index: int = 0  # place within a batch that fanned out
    delivery_id: str | None = None


class Event(Message):
    """A canonical event: one thing that happened, whoever sent it."""

    TOPIC: ClassVar[str] = "ingest.events"
    TYPE: ClassVar[str] = "dev.headrace.event"

    schema_version: str = Field(default=SCHEMA_VERSION, pattern=r"^1\.[0-9]+$")
    uid: str = Field(description="ids.event_uid(tenant, source, id)")
    id: str = Field(min_length=1, description="The sender's id of the event, unique within source")
    source: str = Field(min_length=1, description="URI reference of the sender's context (CloudEvents source)")
    type: str = Field(min_length=1, description="Reverse-DNS type, such as com.github.pull_request.opened")
    subject: str | None = None
    time: str = Field(description="RFC 3339: when it happened, or was received if the sender does not say")
    tenant: str
    partition_key: str = Field(min_length=1)
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
