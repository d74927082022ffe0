"""Turns: at most so many runs of an agent at once, whichever gateway they were asked of.

A turn is a row, taken behind an advisory lock of its agent, and nobody gives it back: it is over when the index has the run's
result, and at the latest after ``hold_s``. So a process that dies leaves nothing locked. The one moment that the index can't
judge is between taking a turn and its job being durable; a turn whose job was never published is over after ``UNPUBLISHED_S``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import asyncpg

from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

UNPUBLISHED_S: Final = 15.0  # longer than a publish may take
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 0))"
_INDEXED: Final = "SELECT FROM runs WHERE runs.tenant = turns.tenant AND runs.run_id = turns.run_id"
_OVER: Final = f"""
DELETE FROM turns WHERE tenant = $1 AND agent = $2 AND (
    held_until <= now()
    OR EXISTS ({_INDEXED} AND runs.state IN ('completed', 'failed'))
    OR (NOT published AND unpublished_until <= now() AND NOT EXISTS ({_INDEXED}))
)
"""  # noqa: S608 (constants)
_TAKE: Final = """
INSERT INTO turns (tenant, agent, run_id, unpublished_until, held_until)
SELECT $1, $2, $3, now() + $5::interval, now() + $6::interval
WHERE (SELECT count(*) FROM turns WHERE tenant = $1 AND agent = $2) < $4
RETURNING true
"""
_PUBLISHED: Final = "UPDATE turns SET published = true WHERE tenant = $1 AND run_id = $2"
_AGENT: Final = """
SELECT agent FROM turns WHERE tenant = $1 AND run_id = $2 AND (published OR unpublished_until > now())
"""
_BEGUN: Final = "SELECT true FROM claims WHERE scope = 'run:' || $1 AND key = $2"  # the claim of reasoning's ledger


class PostgresTurns:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool, *, unpublished_s: float = UNPUBLISHED_S) -> None:
        self._pool = pool
        self._unpublished = timedelta(seconds=unpublished_s)

    async def take(self, tenant: str, agent: str, run_id: str, *, limit: int, hold_s: float) -> bool:
        """A turn for ``run_id``, unless ``limit`` runs of the agent have one."""
        whose = storable_text(tenant), storable_text(agent)
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_LOCK, *whose)
                await connection.execute(_OVER, *whose)
                arguments = run_id, limit, self._unpublished, timedelta(seconds=hold_s)
                return await connection.fetchval(_TAKE, *whose, *arguments) is not None

    async def published(self, tenant: str, run_id: str) -> None:
        """The run's job is durable: from now on the index decides."""
        with translated():
            await self._pool.execute(_PUBLISHED, storable_text(tenant), storable_text(run_id))

    async def agent(self, tenant: str, run_id: str) -> str | None:
        """Whose turn the run has or had, while that is known: also where the run is not indexed yet."""
        with translated():
            found: str | None = await self._pool.fetchval(_AGENT, storable_text(tenant), storable_text(run_id))
        return found

    async def begun(self, tenant: str, run_id: str) -> bool:
        """Whether a reasoner has taken the run's job: its claim on it tells, before any record does."""
        with translated():
            return await self._pool.fetchval(_BEGUN, storable_text(tenant), storable_text(run_id)) is not None
