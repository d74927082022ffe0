"""Between messages and records: the codec, the schema registry it needs, and the claim check for values past the bound."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from headrace.blobs.tenants import TenantBlobs
from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.codec import Codec, Encoded, UnknownSchema
from headrace.messages.errors import DependencyUnavailable
from headrace.observe import metrics, records, tracing
from headrace.observe.logging import get_logger
from headrace.runtime.api import ClaimCheck, Send
from headrace.runtime.callers import CallersTopics
from headrace.runtime.schemas import Schemas
from headrace.settings import MeshSettings

log = get_logger(__name__)


class Wire:
    """Encodes and decodes for one service; ``topics`` are those that it needs schemas for (default: all).

    With ``callers``, what is for a topic that is neither among ``topics`` nor there at all is left out.
    """

    def __init__(
        self,
        service: str,
        settings: MeshSettings,
        claim_check: ClaimCheck,
        *,
        topics: Collection[str] | None = None,
        callers: CallersTopics | None = None,
    ) -> None:
        self._service = service
        self._topics = topics
        self._callers = callers
        self._bound = settings.max_record_bytes
        self._prefix = settings.topic_prefix
        self._claim_check = claim_check
        self._granting = TenantBlobs(claim_check, settings.tenant)  # who reads the record may ask for its value by name
        self._schemas = Schemas(settings)
        self._codec = Codec(self._schemas)

    async def open(self) -> None:
        """Resolve schema ids. Waits for a registry that is away; raises ``FatalError`` if it refuses our schema."""
        delay = 0.1
        while True:
            try:
                await self._schemas.load(self._topics)
                return
            except DependencyUnavailable as error:
                log.warning("registry_unavailable", service=self._service, error=str(error))
                await asyncio.sleep(delay)
                delay = min(2.0, delay * 2)

    async def close(self) -> None:
        await self._schemas.close()

    async def decode(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, str]) -> Message:
        """Raises ``BadMessage`` for what can't be read, ``DependencyUnavailable`` while blobs or schemas can't be had."""
        if ref := headers.get(record_headers.DATA_REF):
            value = await self._claim_check.get(ref)
        try:
            return self._codec.decode(topic, key, value, headers)
        except UnknownSchema as unknown:
            await self._schemas.fetch(unknown.schema_id)
            return self._codec.decode(topic, key, value, headers)

    def decode_now(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, str]
    ) -> Message | None:
        """As ``decode``, without a coroutine; None where there is something to fetch first."""
        if record_headers.DATA_REF in headers:
            return None
        try:
            return self._codec.decode(topic, key, value, headers)
        except UnknownSchema:
            return None

    def encode_now(self, message: Message) -> Encoded:
        """The record of a message that nothing caused, whatever its size. Raises ``RejectedMessage``."""
        return self._encode(Send(message), {})

    async def encode_all(self, sends: Sequence[Send], cause: Mapping[str, str]) -> list[Encoded]:
        """The records of ``sends``; a value past the bound is put into the blob store and referred to.

        A record's trace context is that of its making, where this process traces, else that of ``cause``.
        """
        sends = [send for send in sends if send.topic is None or await self._is_there(send.topic)]
        if tracing.enabled():
            return [await self._traced(send, cause) for send in sends]
        made = [self._encode(send, cause) for send in sends]
        return [record if len(record.value) <= self._bound else await self._checked(record) for record in made]

    async def _is_there(self, topic: str) -> bool:
        if self._callers is None or topic in (self._topics or ()):
            return True
        if there := await self._callers.exists(self._prefix + topic):
            return there
        log.warning("reply_ignored", service=self._service, reply_to=topic, reason="there is no such topic")
        return False

    async def _traced(self, send: Send, cause: Mapping[str, str]) -> Encoded:
        with records.creating(self._prefix + (send.topic or send.message.TOPIC)):
            context = tracing.current_headers()
            record = self._encode(send, cause)
            headers = [header for header in record.headers if header[0] not in context]
            record = record._replace(headers=headers + record_headers.encode(context))
            return record if len(record.value) <= self._bound else await self._checked(record)

    def _encode(self, send: Send, cause: Mapping[str, str]) -> Encoded:
        record = self._codec.encode(send.message, service=self._service, cause_headers=cause, key=send.key)
        if send.headers:
            record.headers.extend(record_headers.encode(send.headers))
        return record if send.topic is None else record._replace(topic=send.topic)

    async def _checked(self, record: Encoded) -> Encoded:
        ref = await self._granting.put(record.value)
        metrics.CLAIM_CHECKS.labels(self._service).inc()
        return record._replace(value=b"", headers=[*record.headers, (record_headers.DATA_REF, ref.encode())])
