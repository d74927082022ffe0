"""What the topics hold: every record of the plan, read and decoded, and the rows that it stands for written into the books.

A record that can't be decoded stands for nothing: the service dead-letters it. What is read here is what the service will read,
so trouble (a registry that is away, records that go while they are read) shows before anything is stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.messages.errors import BadMessage, FatalError
from headrace.replay.ledger import Held, Ledger
from headrace.replay.start import Partition
from headrace.replay.stock import Stock
from headrace.runtime.ranges import Stretch
from headrace.runtime.scan import Scan
from headrace.settings import MeshSettings


@dataclass(slots=True)
class Census:
    """Records by partition, and the offset of the last one: a group is at the end when it has passed that."""

    records: Counter[Partition] = field(default_factory=Counter)
    last: dict[Partition, int] = field(default_factory=dict)
    undecodable: int = 0

    @property
    def total(self) -> int:
        return self.records.total()


async def take_census(
    settings: MeshSettings,
    stretches: Mapping[Partition, Stretch],
    stock: Stock,
    ledger: Ledger,
    counted: Callable[[Census], None] = lambda _census: None,
) -> Census:
    """Reads ``stretches`` into ``ledger``. ``counted`` is told now and then how far it is.

    Raises:
        FatalError: records were deleted before they were read.
        DependencyUnavailable: Kafka, the registry or the blob store is away.
    """
    census = Census()
    starts = {where: stretch[0] for where, stretch in stretches.items() if stretch[0] < stretch[1]}
    async with Scan(settings, {topic for topic, _ in starts}, start=starts) as scan:
        if gone := sorted(f"{t}:{p}" for (t, p), start in starts.items() if scan.first[t, p] > start):
            raise FatalError(f"records of {', '.join(gone)} were deleted before they were read: make the plan again")
        async for batch in scan:
            rows: list[Held] = []
            for record in batch:
                where = record.topic, record.partition
                if where not in starts or record.offset >= stretches[where][1]:
                    continue  # written after the plan was made
                census.records[where] += 1
                census.last[where] = record.offset
                try:
                    rows += await stock.rows_of(record)
                except BadMessage:
                    census.undecodable += 1
            await ledger.note_held(rows)
            counted(census)
    return census
