"""How far back replays reach: what each kind of them reads, since when that is whole, and when retention cuts into it. Pure but
for ``survey`` and ``agents``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from headrace.index.usage import moment
from headrace.messages.agent import AgentRecord
from headrace.messages.errors import BadMessage
from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.pipeline import STAGES
from headrace.postgres.errors import translated
from headrace.runtime.ranges import Ranges
from headrace.settings import MeshSettings

READS: Final[Mapping[str, Sequence[str]]] = {
    "re-run": (Job.TOPIC, ToolCalls.TOPIC, ToolResults.TOPIC, AgentResult.TOPIC, AgentRecord.TOPIC),
    "shadow": (Event.TOPIC, ToolCalls.TOPIC, ToolResults.TOPIC, AgentResult.TOPIC, AgentRecord.TOPIC),
    "rebuild": STAGES["persistence"].consumes,
}
_FOREVER: Final = -1
_EVER: Final = datetime.max.replace(tzinfo=UTC)
_AGENTS: Final = """
SELECT agent_name, count(*) AS runs, min(created_at) AS oldest, count(*) FILTER (WHERE created_at >= $2) AS whole FROM runs
WHERE tenant = $1 AND state IN ('completed', 'failed') AND ($3::text IS NULL OR agent_name = $3)
    AND created_at >= $4 AND created_at < $5
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

    def reaches(self, since: datetime) -> bool:
        """Whether it finds everything of a range that begins then."""
        return self.since_ms is None or self.since_ms <= since.timestamp() * 1000


BLOBS: Final = Reach("blobs", _FOREVER, None, cut=False)
"""What is too large for a record, or shared by many: no topic, and nothing of it is ever deleted."""


@dataclass(frozen=True, slots=True)
class Range:
    """Runs created since ``since``, and before ``until`` where that is given. Times are UTC."""

    since: datetime
    until: datetime | None = None


def range_of(since: str | None, until: str | None, now: datetime) -> Range | None:
    """From two times, or spans back from ``now``; None where nothing is said. Raises ``BadMessage``."""
    if since is None and until is None:
        return None
    if since is None:
        raise BadMessage("an end needs a beginning: since", cause="until", where="until")
    start, end = moment(since, now), None if until is None else moment(until, now)
    if end is not None and end <= start:
        raise BadMessage("it is not after since", cause="until", where="until")
    return Range(start, end)


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


async def agents(
    pool: asyncpg.Pool, tenant: str, found: Sequence[Horizon], agent: str | None = None, within: Range | None = None
) -> list[Standing]:
    """By name; only ``agent``, and only runs of that range, if given. Raises ``DependencyUnavailable``."""
    whole_since = datetime.fromtimestamp((next(one.since_ms for one in found if one.kind == "re-run") or 0) / 1000, UTC)
    start = within.since if within else datetime.fromtimestamp(0, UTC)
    end = (within and within.until) or _EVER
    with translated():
        rows = await pool.fetch(_AGENTS, tenant, whole_since, agent, start, end)
    return [
        Standing(row["agent_name"], row["runs"], int(row["oldest"].timestamp() * 1000), row["whole"]) for row in rows
    ]


def facts(
    reaches: Mapping[str, Reach], found: Sequence[Horizon], standing: Sequence[Standing], within: Range | None = None
) -> dict[str, Any]:
    """All of it as JSON; times are epoch ms. With a range, each kind has ``whole``: whether it finds everything of that."""
    whole = {one.kind: {"whole": one.reaches(within.since)} if within else {} for one in found}
    return {
        "kinds": [asdict(one) | whole[one.kind] for one in found],
        "topics": [_reach_facts(reach) for reach in reaches.values()],
        "blobs": _reach_facts(BLOBS),
        "agents": [asdict(one) for one in standing],
    }


def _reach_facts(reach: Reach) -> dict[str, Any]:
    return asdict(reach) | {"next_cut_ms": reach.next_cut_ms}


def _horizon(kind: str, reaches: Sequence[Reach]) -> Horizon:
    cut = [reach for reach in reaches if reach.cut and reach.oldest_ms is not None]
    latest = max(cut, key=lambda reach: reach.oldest_ms or 0, default=None)
    going = [at for reach in reaches if (at := reach.next_cut_ms) is not None]
    return Horizon(
        kind, latest.oldest_ms if latest else None, latest.topic if latest else None, min(going, default=None)
    )
