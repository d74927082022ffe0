"""Between messages and records: the codec, the schema registry it needs, and the claim check for values past the bound."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.codec import Codec, Encoded, UnknownSchema
from headrace.messages.errors import DependencyUnavailable
from headrace.observe import metrics, records, tracing
from headrace.observe.logging import get_logger
from headrace.runtime.api import ClaimCheck, Send
from headrace.runtime.schemas import Schemas
from headrace.settings import MeshSettings

log = get_logger(__name__)


class Wire:
    """Encodes and decodes for one service; ``topics`` are those that it needs schemas for (default: all)."""

    def __init__(
        self, service: str, settings: MeshSettings, claim_check: ClaimCheck, *, topics: Collection[str] | None = None
    ) -> None:
        self._service = service
        self._topics = topics
        self._bound = settings.max_record_bytes
        self._prefix = settings.topic_prefix
        self._claim_check = claim_check
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

    async def encode(self, send: Send, cause: Mapping[str, str]) -> Encoded:
        """The record of ``send``; a value past the bound is put into the blob store and referred to.

        Its trace context is that of its making, where this process traces, else that of ``cause``.
        """
        if not tracing.enabled():
            return await self._encode(send, cause, {})
        with records.creating(self._prefix + (send.topic or send.message.TOPIC)):
            return await self._encode(send, cause, tracing.current_headers())

    async def _encode(self, send: Send, cause: Mapping[str, str], context: Mapping[str, str]) -> Encoded:
        topic, key, value, headers = self._codec.encode(
            send.message, service=self._service, cause_headers=cause, key=send.key
        )
        if send.headers:
            headers += record_headers.encode(send.headers)
        if len(value) > self._bound:
            ref = await self._claim_check.put(value)
            metrics.CLAIM_CHECKS.labels(self._service).inc()
            headers.append((record_headers.DATA_REF, ref.encode()))
            value = b""
        if context:
            headers = [header for header in headers if header[0] not in context] + record_headers.encode(context)
        return Encoded(send.topic or topic, key, value, headers)
