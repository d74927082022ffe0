"""How far back replays reach: what each kind of them reads, since when that is whole, and when retention cuts into it. Pure but
for ``survey`` and ``agents``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.pipeline import STAGES
from headrace.postgres.errors import translated
from headrace.runtime.ranges import Ranges
from headrace.settings import MeshSettings

READS: Final[Mapping[str, Sequence[str]]] = {
    "re-run": (Job.TOPIC, ToolCalls.TOPIC, ToolResults.TOPIC, AgentResult.TOPIC),
    "shadow": (Event.TOPIC, ToolCalls.TOPIC, ToolResults.TOPIC, AgentResult.TOPIC),
    "rebuild": STAGES["persistence"].consumes,
}
_FOREVER: Final = -1
_AGENTS: Final = """
SELECT agent_name, count(*) AS runs, min(created_at) AS oldest, count(*) FILTER (WHERE created_at >= $2) AS whole FROM runs
WHERE tenant = $1 AND state IN ('completed', 'failed') AND ($3::text IS NULL OR agent_name = $3)
GROUP BY agent_name ORDER BY agent_name
"""


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


@dataclass(frozen=True, slots=True)
class Standing:
    """One agent's ended runs in the index: how many, since when (epoch ms), and how many of them a re-run finds whole."""

    agent: str
    runs: int
    oldest_ms: int
    whole: int


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


async def agents(pool: asyncpg.Pool, tenant: str, found: Sequence[Horizon], agent: str | None = None) -> list[Standing]:
    """By name; only ``agent`` if given. Raises ``DependencyUnavailable``."""
    since_ms = next(one.since_ms for one in found if one.kind == "re-run") or 0
    with translated():
        rows = await pool.fetch(_AGENTS, tenant, datetime.fromtimestamp(since_ms / 1000, UTC), agent)
    return [
        Standing(row["agent_name"], row["runs"], int(row["oldest"].timestamp() * 1000), row["whole"]) for row in rows
    ]


def facts(reaches: Mapping[str, Reach], found: Sequence[Horizon], standing: Sequence[Standing]) -> dict[str, Any]:
    """All of it as JSON; times are epoch ms."""
    return {
        "kinds": [asdict(one) for one in found],
        "topics": [asdict(reach) | {"next_cut_ms": reach.next_cut_ms} for reach in reaches.values()],
        "agents": [asdict(one) for one in standing],
    }


def _horizon(kind: str, reaches: Sequence[Reach]) -> Horizon:
    cut = [reach for reach in reaches if reach.cut and reach.oldest_ms is not None]
    latest = max(cut, key=lambda reach: reach.oldest_ms or 0, default=None)
    going = [at for reach in reaches if (at := reach.next_cut_ms) is not None]
    return Horizon(
        kind, latest.oldest_ms if latest else None, latest.topic if latest else None, min(going, default=None)
    )
