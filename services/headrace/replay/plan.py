"""What a rebuild would read: each partition from where to where, and how far back the topics reach. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from headrace.pipeline import Stage
from headrace.replay.start import AtTime, Held, Partition, Start, starting_points
from headrace.runtime.groups import Group
from headrace.runtime.ranges import Extent, Ranges, Stretch
from headrace.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class Leg:
    """One partition: ``start`` to before ``end`` is read; ``first`` is the oldest there, ``committed`` where the group is."""

    topic: str
    partition: int
    first: int
    start: int
    end: int
    committed: int | None

    @property
    def where(self) -> Partition:
        return self.topic, self.partition

    @property
    def span(self) -> int:
        """Offsets to read. Not all are records: a transaction's marker takes one too."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far back a topic reaches: its retention (-1: for ever), and its oldest record (None: it is empty), in epoch ms."""

    topic: str
    retention_ms: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """``ends`` were taken when the plan was made; what is written later is not part of it."""

    group: str
    legs: tuple[Leg, ...]
    horizons: tuple[Horizon, ...]

    @property
    def stretches(self) -> dict[Partition, Stretch]:
        return {leg.where: (leg.start, leg.end) for leg in self.legs}

    @property
    def starts(self) -> dict[Partition, int]:
        return {leg.where: leg.start for leg in self.legs}

    @property
    def horizon(self) -> Horizon | None:
        """The topic that reaches back least by its retention; None if all are kept for ever."""
        bounded = [horizon for horizon in self.horizons if horizon.retention_ms >= 0]
        return min(bounded, key=lambda horizon: horizon.retention_ms, default=None)


def make_plan(settings: MeshSettings, stage: Stage, start: Start) -> Plan:
    """The plan for ``stage``'s group. Blocks.

    Raises:
        OutOfRange: the topics don't hold ``start``.
        DependencyUnavailable, FatalError: as ``runtime.ranges``.
    """
    ranges = Ranges(settings, "replay")
    extents = ranges.extents(stage.consumes)
    whole = {(topic, n): stretch for topic, extent in extents.items() for n, stretch in extent.partitions.items()}
    committed = Group(settings, stage.group).committed(whole)
    oldest = ranges.oldest(whole)
    times = ranges.at_time(whole, start.timestamp_ms) if isinstance(start, AtTime) else {}
    held = {
        where: Held(
            first=stretch[0],
            end=stretch[1],
            committed=committed[where].offset if where in committed else None,
            oldest_ms=oldest.get(where),
            at_ms=times.get(where),
        )
        for where, stretch in whole.items()
    }
    points = starting_points(start, held, now_ms=int(time.time() * 1000))
    legs = tuple(Leg(*where, one.first, points[where], one.end, one.committed) for where, one in held.items())
    return Plan(stage.group, legs, tuple(_horizon(extent, oldest.items()) for extent in extents.values()))


def _horizon(extent: Extent, oldest: Iterable[tuple[Partition, int]]) -> Horizon:
    times = [at for (topic, _), at in oldest if topic == extent.topic]
    return Horizon(extent.topic, extent.retention_ms, min(times, default=None))
