"""The table of what judges said, so that a report that is made again, or that was cut off, pays for no verdict twice."""

from __future__ import annotations

from typing import Final, NamedTuple

import asyncpg

from headrace.postgres.errors import translated
from headrace.replay.evaluators.checks import Judged

KEPT_DAYS: Final = 30  # as long as the shadow topics
_ALL: Final = """
SELECT evaluator, side, event_uid, verdict, why, cost_usd FROM replay_verdicts WHERE tenant = $1 AND replay_id = $2
"""
_KEEP: Final = """
INSERT INTO replay_verdicts (tenant, replay_id, evaluator, side, event_uid, verdict, why, cost_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""
_FORGET: Final = "DELETE FROM replay_verdicts WHERE judged_at < now() - make_interval(days => $1)"


class Key(NamedTuple):
    """What was judged: by which evaluator, whose answer (``candidate`` or ``baseline``), to which event."""

    evaluator: str
    side: str
    event_uid: str


class Kept(NamedTuple):
    judged: Judged
    cost_usd: float


class Verdicts:
    """Of one replay, on a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool, tenant: str, replay_id: str) -> None:
        self._pool = pool
        self._name = tenant, replay_id

    async def all(self) -> dict[Key, Kept]:
        """All that is kept. What is too old, of any replay, goes."""
        with translated():
            await self._pool.execute(_FORGET, KEPT_DAYS)
            rows = await self._pool.fetch(_ALL, *self._name)
        return {
            Key(row["evaluator"], row["side"], row["event_uid"]): Kept(
                Judged(row["verdict"], row["why"]), row["cost_usd"]
            )
            for row in rows
        }

    async def keep(self, key: Key, kept: Kept) -> None:
        with translated():
            await self._pool.execute(_KEEP, *self._name, *key, *kept.judged, kept.cost_usd)
