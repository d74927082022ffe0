"""What a replay goes through one after the other, listed when it is planned, and what came of each: so it does what was counted
and goes on where it was. Every method raises ``DependencyUnavailable`` when Postgres is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import asyncpg

from headrace.control.replays.store import Replay
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text

_LEFT: Final = """
SELECT number, item FROM replay_items WHERE tenant = $1 AND replay_id = $2 AND number > $3 AND done_at IS NULL
ORDER BY number LIMIT $4
"""
_DONE: Final = """
UPDATE replay_items t SET done_at = now(), refused = d.refused FROM unnest($3::bigint[], $4::text[]) d (number, refused)
WHERE tenant = $1 AND replay_id = $2 AND t.number = d.number
"""
_COUNTS: Final = """
SELECT count(*) AS total, count(done_at) AS passed, count(refused) AS refused FROM replay_items
WHERE tenant = $1 AND replay_id = $2
"""
_REFUSED: Final = """
SELECT item, refused FROM replay_items WHERE tenant = $1 AND replay_id = $2 AND refused IS NOT NULL ORDER BY number LIMIT $3
"""


class Item(NamedTuple):
    number: int
    name: str


class Counts(NamedTuple):
    """Of ``total`` items ``passed`` are done with, ``refused`` of these because they can't be done."""

    total: int
    passed: int
    refused: int


class Items:
    """Those of one job. ``Leases.listed`` makes them, and they go when it is completed."""

    def __init__(self, pool: asyncpg.Pool, job: Replay) -> None:
        self._pool = pool
        self._job = job.tenant, job.replay_id

    async def left(self, after: int, limit: int) -> list[Item]:
        """What is to be done still, past the number ``after``."""
        with translated():
            rows = await self._pool.fetch(_LEFT, *self._job, after, limit)
        return [Item(*row) for row in rows]

    async def done(self, outcomes: Mapping[int, str | None]) -> None:
        """By number: None where it is done, else why it can't be."""
        reasons = [None if why is None else storable_text(why) for why in outcomes.values()]
        with translated():
            await self._pool.execute(_DONE, *self._job, list(outcomes), reasons)

    async def counts(self) -> Counts:
        with translated():
            [row] = await self._pool.fetch(_COUNTS, *self._job)
        return Counts(row["total"], row["passed"], row["refused"])

    async def refused(self, limit: int) -> dict[str, str]:
        """The first of those that can't be done, and why."""
        with translated():
            rows = await self._pool.fetch(_REFUSED, *self._job, limit)
        return {row["item"]: row["refused"] for row in rows}
