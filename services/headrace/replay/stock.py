"""What a service keeps, as far as a rebuild can count it: rows of tables for persistence, entries of ``audit.events`` for audit.

A stock says which keys a record stands for, and writes down which keys are there. The two must not be the service's own doing, or
it would be checked by itself: keys of rows are said a second time in ``identity``, and entries name their record's place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

from headrace.messages import headers as record_headers
from headrace.messages.audit import AuditEvent
from headrace.messages.base import Message
from headrace.messages.errors import BadMessage
from headrace.pipeline import Stage
from headrace.replay.identity import rows_of
from headrace.replay.ledger import INDEX_TABLES, Held, Ledger, Side
from headrace.replay.plan import Plan
from headrace.replay.start import Partition
from headrace.runtime.api import ClaimCheck
from headrace.runtime.poller import Record
from headrace.runtime.scan import Scan
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

AUDIT_ENTRIES: Final = AuditEvent.TOPIC


class Stock(Protocol):
    """``names`` are the tables or topics that are counted."""

    names: tuple[str, ...]

    async def rows_of(self, record: Record) -> list[Held]:
        """What ``record`` stands for. Raises ``BadMessage`` if nothing, since it can't be read."""
        ...

    async def note(self, side: Side, ledger: Ledger) -> None:
        """Write what is there now into the books; may be repeated."""
        ...


class Index:
    """The index of runs in Postgres."""

    names: tuple[str, ...] = INDEX_TABLES

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def rows_of(self, record: Record) -> list[Held]:
        message = await _decoded(self._wire, record)
        place = _place(record.topic, record.partition, record.offset)
        return [(table, key, place) for table, key in rows_of(message, place)]

    async def note(self, side: Side, ledger: Ledger) -> None:
        await ledger.note_index(side)


class AuditTrail:
    """``audit.events``: one entry for each record of the mesh, readable or not."""

    names: tuple[str, ...] = (AUDIT_ENTRIES,)

    def __init__(self, wire: Wire, settings: MeshSettings, ends: Mapping[Partition, int]) -> None:
        self._wire = wire
        self._settings = settings
        self._ends = ends

    async def rows_of(self, record: Record) -> list[Held]:
        place = _place(record.topic, record.partition, record.offset)
        return [(AUDIT_ENTRIES, place, place)]

    async def note(self, side: Side, ledger: Ledger) -> None:
        await ledger.forget(side)
        async with Scan(self._settings, [AUDIT_ENTRIES]) as scan:
            async for batch in scan:
                await ledger.note(side, [(AUDIT_ENTRIES, key) for record in batch if (key := await self._key(record))])

    async def _key(self, record: Record) -> str | None:
        """The place that an entry is of; None for one past the plan's ends, and for what is no entry."""
        try:
            entry = await _decoded(self._wire, record)
        except BadMessage:
            return None
        if not isinstance(entry, AuditEvent):
            return None
        where = entry.source_topic, entry.source_partition
        return _place(*where, entry.source_offset) if entry.source_offset < self._ends.get(where, 0) else None


@asynccontextmanager
async def open_stock(settings: MeshSettings, stage: Stage, plan: Plan, claim_check: ClaimCheck) -> AsyncIterator[Stock]:
    """What ``stage`` keeps."""
    audit = stage.service == "audit"
    wire = Wire("replay", settings, claim_check, topics=stage.produces if audit else stage.consumes)
    await wire.open()
    try:
        yield AuditTrail(wire, settings, {leg.where: leg.end for leg in plan.legs}) if audit else Index(wire)
    finally:
        await wire.close()


async def _decoded(wire: Wire, record: Record) -> Message:
    return await wire.decode(record.topic, record.key, record.value, record_headers.decode(record.headers))


def _place(topic: str, partition: int, offset: int) -> str:
    return f"{topic}/{partition}/{offset}"
