"""The table of replays, for those who work: take a job, tell how far it is, end it.

A lease is a holder and a time. Whoever has it renews it all the while; one that has lapsed is anybody's, so a job whose process was
killed goes on elsewhere. A holder learns from a renewal that comes to nothing that the job is not its own any more: it was
cancelled, or somebody took it. Doing a job twice for a moment harms nothing, since its records are written exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg

from headrace.control.replays.states import MOVES, Said
from headrace.control.replays.store import COLUMNS, Replay, replay_of
from headrace.messages.errors import HeadraceError
from headrace.postgres.errors import translated

_FREE: Final = "state IN ('queued', 'running') AND (lease_until IS NULL OR lease_until <= now())"
_TAKE: Final = f"""
UPDATE replays SET holder = $1, lease_until = now() + $2::interval WHERE (tenant, replay_id) = (
    SELECT tenant, replay_id FROM replays WHERE tenant = $3 AND detached AND follows = $4 AND {_FREE}
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING {COLUMNS}
"""  # noqa: S608 (constants)
_TAKE_ONE: Final = f"""
UPDATE replays SET holder = $1, lease_until = now() + $2::interval WHERE tenant = $3 AND replay_id = $4 AND {_FREE}
RETURNING {COLUMNS}
"""  # noqa: S608
_ANY_FREE: Final = f"SELECT EXISTS (SELECT FROM replays WHERE tenant = $1 AND detached AND NOT follows AND {_FREE})"  # noqa: S608
_TO_HELP: Final = """
SELECT replay_id FROM replays
WHERE tenant = $1 AND detached AND NOT follows AND kind = 'shadow' AND state = 'running' AND lease_until > now()
ORDER BY created_at LIMIT 1
"""
_MINE: Final = "tenant = $1 AND replay_id = $2 AND holder = $3"
_RENEW: Final = f"""
UPDATE replays SET lease_until = now() + $4::interval, progress = coalesce($5, progress), updated_at = now()
WHERE {_MINE} AND state IN ('queued', 'running') RETURNING true
"""  # noqa: S608
_HELD: Final = f"UPDATE replays SET lease_until = now() + $4::interval WHERE {_MINE} RETURNING {COLUMNS}"  # noqa: S608
_SETTLED: Final = f"UPDATE replays SET plan = $4, estimate = $5 WHERE {_MINE} RETURNING true"  # noqa: S608
_LISTED: Final = f"""
WITH mine AS (UPDATE replays SET plan = $4, estimate = $5 WHERE {_MINE} AND plan IS NULL RETURNING tenant, replay_id),
listed AS (
    INSERT INTO replay_items (tenant, replay_id, number, item)
    SELECT mine.tenant, mine.replay_id, number, item FROM mine, unnest($6::text[]) WITH ORDINALITY AS items (item, number)
)
SELECT true FROM mine
"""  # noqa: S608
_MOVE: Final = f"""
WITH moved AS (
    UPDATE replays SET state = $4, updated_at = now(), error = $6,
        began_at = CASE WHEN $4 = 'running' THEN coalesce(began_at, now()) ELSE began_at END,
        ended_at = CASE WHEN $4 IN ('completed', 'failed') THEN now() END,
        holder = CASE WHEN $4 = 'running' THEN holder END, lease_until = CASE WHEN $4 = 'running' THEN lease_until END
    WHERE {_MINE} AND state = ANY ($5) RETURNING tenant, replay_id, state
), gone_through AS (
    DELETE FROM replay_items USING moved WHERE moved.state = 'completed'
    AND replay_items.tenant = moved.tenant AND replay_items.replay_id = moved.replay_id
)
SELECT true FROM moved
"""  # noqa: S608
_REPORTED: Final = f"UPDATE replays SET report = $4, page = $5 WHERE {_MINE} RETURNING true"  # noqa: S608
_SPENDING: Final = "SELECT spent_usd FROM replays WHERE tenant = $1 AND replay_id = $2"
_SPENT: Final = """
UPDATE replays SET spent_usd = spent_usd + $3 WHERE tenant = $1 AND replay_id = $2 RETURNING spent_usd
"""
_SPENT_AT_LEAST: Final = """
UPDATE replays SET spent_usd = greatest(spent_usd, $3) WHERE tenant = $1 AND replay_id = $2 RETURNING spent_usd
"""
_RELEASE: Final = f"UPDATE replays SET holder = NULL, lease_until = NULL WHERE {_MINE}"  # noqa: S608


class LeaseLost(HeadraceError):
    """The job was cancelled, or is somebody else's by now."""


class Leases:
    """What one process (``holder``: a name of its own) holds, each for ``lease_s`` at a time.

    Every method raises ``DependencyUnavailable`` when Postgres is away, and those that change a job ``LeaseLost``.
    """

    def __init__(self, pool: asyncpg.Pool, holder: str, lease_s: float) -> None:
        self._pool = pool
        self.holder = holder
        self.lease_s = lease_s

    async def take(self, tenant: str, *, follows: bool) -> Replay | None:
        """The oldest detached job that nobody works on."""
        with translated():
            row = await self._pool.fetchrow(_TAKE, self.holder, self._interval, tenant, follows)
        return replay_of(row) if row else None

    async def take_one(self, tenant: str, replay_id: str) -> Replay | None:
        """This job; None while somebody else has it, or it is not to be worked on."""
        with translated():
            row = await self._pool.fetchrow(_TAKE_ONE, self.holder, self._interval, tenant, replay_id)
        return replay_of(row) if row else None

    async def any_free(self, tenant: str) -> bool:
        """Whether ``take`` would find a job that ends by itself."""
        with translated():
            return bool(await self._pool.fetchval(_ANY_FREE, tenant))

    async def to_help(self, tenant: str) -> str | None:
        """A detached shadow that somebody leads: the oldest."""
        with translated():
            found: str | None = await self._pool.fetchval(_TO_HELP, tenant)
        return found

    async def held(self, tenant: str, replay_id: str) -> Replay | None:
        """This job, renewed, if it is this holder's."""
        with translated():
            row = await self._pool.fetchrow(_HELD, tenant, replay_id, self.holder, self._interval)
        return replay_of(row) if row else None

    async def renew(self, job: Replay, progress: dict[str, Any] | None = None) -> None:
        """``progress``: how far it is; None: as it was."""
        await self._mine(_RENEW, job, self._interval, progress)

    async def settled(self, job: Replay, plan: str, estimate: dict[str, Any]) -> None:
        """What the request means, once and for all."""
        await self._mine(_SETTLED, job, plan, estimate)

    async def listed(self, job: Replay, plan: str, estimate: dict[str, Any], items: Sequence[str]) -> None:
        """As ``settled``, with the list that the job is to go through (``items.Items``): both or neither."""
        await self._mine(_LISTED, job, plan, estimate, items)

    async def say(self, job: Replay, said: Said, *, error: str | None = None) -> None:
        """Move it on; the list of one that is completed goes then. Raises ``LeaseLost`` also where it can't be said any more."""
        allowed, then = MOVES[said]
        await self._mine(_MOVE, job, then, list(allowed), error)

    async def reported(self, job: Replay, report: dict[str, Any], page: str | None) -> None:
        """Keep its report; the last one stays."""
        await self._mine(_REPORTED, job, report, page)

    async def release(self, job: Replay) -> None:
        """Somebody else may take it at once. Does nothing where it is not held any more."""
        with translated():
            await self._pool.execute(_RELEASE, job.tenant, job.replay_id, self.holder)

    async def _mine(self, statement: str, job: Replay, *values: Any) -> None:
        with translated():
            if not await self._pool.fetchval(statement, job.tenant, job.replay_id, self.holder, *values):
                raise LeaseLost(f"replay {job.replay_id} was cancelled, or is worked on elsewhere")

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self.lease_s)


class Purse:
    """What all processes of one replay have spent, in US dollars. Raises ``DependencyUnavailable``."""

    def __init__(self, pool: asyncpg.Pool, tenant: str, replay_id: str) -> None:
        self._pool = pool
        self._name = tenant, replay_id

    async def add(self, usd: float) -> float:
        """The sum then."""
        return await self._changed(_SPENT, usd) if usd else await self._changed(_SPENDING)

    async def at_least(self, usd: float) -> float:
        """Records of the replay show that it has spent so much. The sum then."""
        return await self._changed(_SPENT_AT_LEAST, usd)

    async def _changed(self, statement: str, *usd: float) -> float:
        with translated():
            return float(await self._pool.fetchval(statement, *self._name, *usd) or 0.0)
