"""How far back replays reach: what each kind of them reads, since when that is whole, and when retention cuts into it. Pure but
for ``survey``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.pipeline import STAGES
from headrace.runtime.ranges import Ranges
from headrace.settings import MeshSettings

READS: Final[Mapping[str, Sequence[str]]] = {
    "re-run": (Job.TOPIC, ToolCalls.TOPIC, ToolResults.TOPIC, AgentResult.TOPIC),
    "shadow": (Event.TOPIC, ToolCalls.TOPIC, ToolResults.TOPIC, AgentResult.TOPIC),
    "rebuild": STAGES["persistence"].consumes,
}
_FOREVER: Final = -1


@dataclass(frozen=True, slots=True)
class Reach:
    """One topic: its retention and its oldest record (None: it is empty), in ms. ``cut``: something was deleted already."""

    topic: str
    retention_ms: int
    oldest_ms: int | None
    cut: bool

    @property
    def next_cut_ms(self) -> int | None:
        """When its oldest record may be deleted (epoch ms); None if never. Kafka deletes whole segments, so it may stay longer."""
        if self.oldest_ms is None or self.retention_ms == _FOREVER:
            return None
        return self.oldest_ms + self.retention_ms


@dataclass(frozen=True, slots=True)
class Horizon:
    """One kind of replay. ``since_ms``: since when it finds everything (None: since the beginning); ``topic`` is what sets that.

    ``next_cut_ms``: when the first record that it reads may go.
    """

    kind: str
    since_ms: int | None
    topic: str | None
    next_cut_ms: int | None


def horizons(reaches: Mapping[str, Reach]) -> list[Horizon]:
    """What the topics' reaches mean for each kind."""
    return [_horizon(kind, [reaches[topic] for topic in topics]) for kind, topics in READS.items()]


def survey(settings: MeshSettings) -> dict[str, Reach]:
    """The reach of every topic that some kind reads. Blocks.

    Raises:
        DependencyUnavailable, FatalError: as ``runtime.ranges``.
    """
    ranges = Ranges(settings, "replay")
    topics = sorted({topic for topics in READS.values() for topic in topics})
    extents = ranges.extents(topics)
    whole = {(topic, number): held for topic in topics for number, held in extents[topic].partitions.items()}
    oldest = ranges.oldest(whole)
    return {
        topic: Reach(
            topic,
            extents[topic].retention_ms,
            min((at for (name, _), at in oldest.items() if name == topic), default=None),
            any(first > 0 for first, _ in extents[topic].partitions.values()),
        )
        for topic in topics
    }


def _horizon(kind: str, reaches: Sequence[Reach]) -> Horizon:
    cut = [reach for reach in reaches if reach.cut and reach.oldest_ms is not None]
    latest = max(cut, key=lambda reach: reach.oldest_ms or 0, default=None)
    going = [at for reach in reaches if (at := reach.next_cut_ms) is not None]
    return Horizon(
        kind, latest.oldest_ms if latest else None, latest.topic if latest else None, min(going, default=None)
    )
