"""Whose turn it is in a session, in Postgres: one run at a time, in order of arrival, whichever process they run in.

A run takes a place when its job is received, and begins when nobody is before it. Places of one session are given behind an
advisory lock, so that a later one is never seen before an earlier one. Nobody gives a place back: it is over when the index has
the run's result (and with it, in the same transaction, what the run left in its session), at the latest at ``held_until``, not
counting the time for which the run waited for somebody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import asyncpg

from headrace.messages.run import SessionState
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(session, 7)) FROM unnest($1::text[]) AS session"
_ENDED: Final = """EXISTS (
    SELECT FROM runs WHERE runs.tenant = {0}.tenant AND runs.run_id = {0}.run_id AND runs.state IN ('completed', 'failed')
)"""
_HELD: Final = """{0}.held_until + coalesce((
    SELECT sum(coalesce(waits.closed_at, now()) - waits.parked_at) FROM waits
    WHERE waits.tenant = {0}.tenant AND waits.run_id = {0}.run_id
), interval '0') > now()"""
_FORGET: Final = f"""
DELETE FROM session_queue AS one USING unnest($1::text[], $2::text[]) AS asked (tenant, session_id)
WHERE one.tenant = asked.tenant AND one.session_id = asked.session_id
    AND (NOT ({_HELD.format("one")}) OR {_ENDED.format("one")})
"""  # noqa: S608 (constants)
_TAKE: Final = """
INSERT INTO session_queue (tenant, session_id, run_id, held_until)
SELECT tenant, session_id, run_id, held_until
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
    WITH ORDINALITY AS asked (tenant, session_id, run_id, held_until, number)
ORDER BY number
ON CONFLICT DO NOTHING
"""
_INTERRUPT: Final = """
INSERT INTO cancellations (tenant, run_id)
SELECT DISTINCT ahead.tenant, ahead.run_id
FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (tenant, session_id, run_id)
JOIN session_queue AS mine USING (tenant, session_id, run_id)
JOIN session_queue AS ahead
    ON ahead.tenant = mine.tenant AND ahead.session_id = mine.session_id AND ahead.place < mine.place
ON CONFLICT DO NOTHING
"""
_FIRST: Final = f"""
SELECT asked.number
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (tenant, session_id, run_id, number)
JOIN session_queue AS mine USING (tenant, session_id, run_id)
WHERE NOT EXISTS (
    SELECT FROM session_queue AS ahead
    WHERE ahead.tenant = mine.tenant AND ahead.session_id = mine.session_id AND ahead.place < mine.place
        AND {_HELD.format("ahead")} AND NOT {_ENDED.format("ahead")}
)
"""  # noqa: S608 (constants)
IN_LINE: Final = f"""
SELECT run_id FROM session_queue AS one WHERE tenant = $1 AND session_id = $2
    AND {_HELD.format("one")} AND NOT {_ENDED.format("one")}
ORDER BY place LIMIT $3
"""  # noqa: S608 (constants)
_STATE: Final = """
SELECT turns, head, stored, result_ref FROM session_runs WHERE tenant = $1 AND session_id = $2
ORDER BY turns DESC, completed_at DESC, run_id LIMIT 1
"""
_ENDED_SINCE: Final = (
    "SELECT true FROM session_runs WHERE tenant = $1 AND session_id = $2 AND completed_at > $3 LIMIT 1"
)
_LEAVE: Final = "DELETE FROM session_queue WHERE tenant = $1 AND session_id = $2 AND run_id = $3"


class Place(NamedTuple):
    """A run in its session."""

    tenant: str
    session_id: str
    run_id: str


class Arrival(NamedTuple):
    """A run that takes a place, for at most so long. ``interrupts``: what is before it has to end."""

    place: Place
    held_until_ms: int
    interrupts: bool


class PostgresSessionQueue:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None:
        """Take a place for each that has none, in this order."""
        places = [_storable(arrival.place) for arrival in arrivals]
        until = [datetime.fromtimestamp(arrival.held_until_ms / 1000, UTC) for arrival in arrivals]
        interrupting = [place for place, arrival in zip(places, arrivals, strict=True) if arrival.interrupts]
        tenants, sessions, runs = _columns(places)
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_LOCK, sorted({f"{one.tenant}\x1f{one.session_id}" for one in places}))
                await connection.execute(_FORGET, tenants, sessions)
                await connection.execute(_TAKE, tenants, sessions, runs, until)
                if interrupting:
                    await connection.execute(_INTERRUPT, *_columns(interrupting))

    async def first(self, places: Sequence[Place]) -> set[Place]:
        """Those that nobody is before."""
        with translated(), encoding():
            rows = await self._pool.fetch(_FIRST, *_columns([_storable(place) for place in places]))
        return {places[row["number"] - 1] for row in rows}

    async def state(self, place: Place) -> SessionState:
        """What the newest run of the session left."""
        tenant, session_id, _ = _storable(place)
        with translated(), encoding():
            row = await self._pool.fetchrow(_STATE, tenant, session_id)
        return SessionState(**row) if row else SessionState()

    async def ended_since(self, place: Place, since_ms: int) -> bool:
        """Whether a run of the session ended after that time (epoch milliseconds)."""
        tenant, session_id, _ = _storable(place)
        since = datetime.fromtimestamp(since_ms / 1000, UTC)
        with translated(), encoding():
            return await self._pool.fetchval(_ENDED_SINCE, tenant, session_id, since) is not None

    async def leave(self, place: Place) -> None:
        """Give the place up: the run does not begin."""
        with translated(), encoding():
            await self._pool.execute(_LEAVE, *_storable(place))


def _storable(place: Place) -> Place:
    return Place(*map(storable_text, place))


def _columns(places: Sequence[Place]) -> tuple[list[str], list[str], list[str]]:
    return [p.tenant for p in places], [p.session_id for p in places], [p.run_id for p in places]
