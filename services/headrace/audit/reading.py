"""``audit.events`` read back as entries: by the service, which looks for heads, and by ``verify``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.messages import headers as record_headers
from headrace.messages.audit import AuditEvent
from headrace.messages.errors import BadMessage
from headrace.runtime.poller import Record
from headrace.runtime.scan import Scan
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class Read:
    """A record of ``audit.events``; ``entry`` is None if it is none."""

    partition: int
    offset: int
    key: str
    entry: AuditEvent | None


class NoBlobs:
    """Entries are small: one that says that it is in the blob store is not an entry."""

    async def put(self, data: bytes) -> str:
        raise BadMessage("an audit entry is never put aside", cause="claim_check")

    async def get(self, ref: str) -> bytes:
        raise BadMessage("an audit entry is never put aside", cause="claim_check")


@asynccontextmanager
async def entry_wire(settings: MeshSettings) -> AsyncIterator[Wire]:
    """What decodes entries."""
    wire = Wire("audit", settings, NoBlobs(), topics={AuditEvent.TOPIC})
    await wire.open()
    try:
        yield wire
    finally:
        await wire.close()


async def read(wire: Wire, scan: Scan) -> AsyncIterator[Read]:
    """All records of ``scan``, which is of ``audit.events``."""
    async for batch in scan:
        for record in batch:
            key = (record.key or b"").decode("utf-8", "replace")
            yield Read(record.partition, record.offset, key, await _entry(wire, record))


async def _entry(wire: Wire, record: Record) -> AuditEvent | None:
    try:
        headers = record_headers.decode(record.headers)
        message = await wire.decode(record.topic, record.key, record.value, headers)
    except BadMessage:
        return None
    return message if isinstance(message, AuditEvent) else None


def scan_entries(settings: MeshSettings, start: Mapping[tuple[str, int], int] | None = None) -> Scan:
    return Scan(settings, [AuditEvent.TOPIC], start=start)
