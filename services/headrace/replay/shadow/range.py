"""The events of a range: which offsets a time means, and every record read, one by one, readable or not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.errors import BadMessage
from headrace.messages.event import Event
from headrace.replay.shadow.choice import in_baseline, skipped
from headrace.replay.shadow.plan import ShadowPlan
from headrace.replay.start import AtTime, Earliest, Held, Partition, starting_points
from headrace.runtime.api import Source
from headrace.runtime.poller import Record
from headrace.runtime.ranges import Ranges, Stretch
from headrace.runtime.scan import Scan
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

UNDECODABLE: Final = "undecodable"
_CLOCKS_MS: Final = 60_000


def settle_range(settings: MeshSettings, start: AtTime | Earliest, end_ms: int | None) -> dict[int, Stretch]:
    """By partition the offsets of the events from ``start`` to before ``end_ms`` (None: what is there now). Blocks.

    Raises:
        OutOfRange: records of that time may be deleted.
        DependencyUnavailable, FatalError: as ``runtime.ranges``.
    """
    ranges = Ranges(settings, "shadow")
    extent = ranges.extents([Event.TOPIC])[Event.TOPIC]
    whole: dict[Partition, Stretch] = {(Event.TOPIC, number): held for number, held in extent.partitions.items()}
    oldest = ranges.oldest(whole)
    times = ranges.at_time(whole, start.timestamp_ms) if isinstance(start, AtTime) else {}
    held = {
        where: Held(first=first, end=end, oldest_ms=oldest.get(where), at_ms=times.get(where))
        for where, (first, end) in whole.items()
    }
    starts = starting_points(start, held, now_ms=int(time.time() * 1000))
    until = ranges.at_time(whole, end_ms) if end_ms is not None else {}
    return {where[1]: (starts[where], max(starts[where], until.get(where, held[where].end))) for where in held}


def since(settings: MeshSettings, topics: Collection[str], at_ms: int) -> dict[Partition, int]:
    """The offsets from which ``topics`` are not older than ``at_ms``, by clocks that may be a minute apart: the record of a run may
    have an earlier time than its event. Blocks.
    """
    ranges = Ranges(settings, "shadow")
    whole = {(topic, n): held for topic, one in ranges.extents(topics).items() for n, held in one.partitions.items()}
    times = ranges.at_time(whole, max(0, at_ms - _CLOCKS_MS))
    return {where: times.get(where, end) for where, (_, end) in whole.items()}


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of the range: its event, or None where it can't be read."""

    source: Source
    event: Event | None


async def events_of(
    settings: MeshSettings, ranges: Mapping[int, Stretch], wire: Wire, deleted: dict[int, Stretch] | None = None
) -> AsyncIterator[list[Seen]]:
    """Every record of ``ranges`` that is still there, in batches. ``deleted`` is told, by partition, the stretch of offsets that is
    not: retention goes on while a replay does.

    Raises:
        FatalError: records were deleted while they were read.
    """
    starts = {(Event.TOPIC, number): start for number, (start, _) in ranges.items()}
    ends = {(Event.TOPIC, number): end for number, (_, end) in ranges.items()}
    async with Scan(settings, [Event.TOPIC], start=starts, end=ends) as scan:
        if deleted is not None:
            deleted |= cut(ranges, {number: scan.first[Event.TOPIC, number] for number in ranges})
        async for batch in scan:
            yield [
                Seen(Source(one.topic, one.partition, one.offset), await _event(wire, one))
                for one in batch
                if (one.topic, one.partition) in starts
            ]


def cut(ranges: Mapping[int, Stretch], first: Mapping[int, int]) -> dict[int, Stretch]:
    """By partition what ``ranges`` have before ``first``, the oldest offset that is there. Whole partitions are left out."""
    return {
        number: (start, min(first[number], end))
        for number, (start, end) in ranges.items()
        if start < min(first[number], end)
    }


@dataclass(slots=True)
class Forecast:
    """What a replay would do: ``records`` in the range, ``chosen`` to be replayed, ``skipped`` by reason, ``last`` offsets."""

    records: Counter[int] = field(default_factory=Counter)
    last: dict[int, int] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    chosen: int = 0
    baseline: int = 0
    undecodable: int = 0

    @property
    def total(self) -> int:
        return self.records.total()

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "records": self.total,
            "chosen": self.chosen,
            "baseline": self.baseline,
            "skipped": dict(sorted(self.skipped.items())),
            "undecodable": self.undecodable,
        }

    def note(self, plan: ShadowPlan, seen: Seen) -> None:
        self.records[seen.source.partition] += 1
        self.last[seen.source.partition] = seen.source.offset
        if seen.event is None:
            self.undecodable += 1
        elif reason := skipped(plan, seen.event):
            self.skipped[reason] += 1
        else:
            self.chosen += 1
            self.baseline += in_baseline(plan, seen.event)


async def forecast(settings: MeshSettings, plan: ShadowPlan, wire: Wire) -> Forecast:
    """Reads the range; asks nobody and writes nothing."""
    found = Forecast()
    async for batch in events_of(settings, plan.ranges, wire):
        for seen in batch:
            found.note(plan, seen)
    return found


async def decoded(wire: Wire, record: Record) -> Message | None:
    """The message of a record, or None where it can't be read."""
    try:
        return await wire.decode(record.topic, record.key, record.value, record_headers.decode(record.headers))
    except BadMessage:
        return None


async def _event(wire: Wire, record: Record) -> Event | None:
    message = await decoded(wire, record)
    return message if isinstance(message, Event) else None
