"""Sessions of a replay: each turn finds what the replay's own turn before it has left, and never what a live run left meanwhile.

An event's session is what the plan's expression says of it. Its turns are those of one partition key, which follow each other in
the order of the events; where events of one session have several keys, each key has a conversation of its own: nothing orders them.
The first turn finds what live runs had left in the session of that name before the range began, if they did.

What a turn left is kept by the place of its event, before the event is committed. So a turn that is made again, after a kill or by
another process, reads the same again, and writes over what it wrote.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

import asyncpg

from headrace.control.session_queue import Arrival
from headrace.messages.base import Message
from headrace.messages.event import Event
from headrace.messages.result import AgentResult
from headrace.messages.run import DoubleTexting, RunInfo, SessionState
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text
from headrace.replay.shadow.choice import session_of
from headrace.replay.shadow.plan import ShadowPlan
from headrace.runtime.api import Source

KEPT_DAYS: Final = 30  # as long as the shadow topics
_BEFORE: Final = """
SELECT turns, head, stored, result_ref FROM replay_sessions
WHERE tenant = $1 AND replay_id = $2 AND session_id = $3 AND partition_key = $4 AND partition = $5 AND position < $6
ORDER BY position DESC LIMIT 1
"""
_LIVE: Final = """
SELECT turns, head, stored, result_ref FROM session_runs WHERE tenant = $1 AND session_id = $2 AND completed_at < $3
ORDER BY turns DESC, completed_at DESC, run_id LIMIT 1
"""
_KEEP: Final = """
INSERT INTO replay_sessions
    (tenant, replay_id, session_id, partition_key, partition, position, turns, head, stored, result_ref)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (tenant, replay_id, session_id, partition_key, partition, position) DO UPDATE
SET turns = excluded.turns, head = excluded.head, stored = excluded.stored, result_ref = excluded.result_ref, left_at = now()
"""
_FORGET: Final = "DELETE FROM replay_sessions WHERE left_at < now() - make_interval(days => $1)"


class Place(NamedTuple):
    """A turn of a session of a replay; ``replay_id`` is the candidate's or the baseline's."""

    replay_id: str
    session_id: str
    partition_key: str
    partition: int
    position: int


def place_of(plan: ShadowPlan, event: Event, source: Source, replay_id: str) -> Place | None:
    """None for an event that stands alone."""
    session = session_of(plan, event)
    if session is None:
        return None
    key = storable_text(event.partition_key)
    return Place(replay_id, storable_text(session), key, source.partition, source.offset)


class ShadowSessions:
    """``reasoning.sessions.Sessions`` of a replay's runs. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool, plan: ShadowPlan) -> None:
        self._pool = pool
        self._tenant = plan.tenant
        self._from = datetime.fromtimestamp(plan.from_ms / 1000, UTC)
        self._places: dict[str, Place] = {}

    @contextmanager
    def turn(self, run_id: str, place: Place | None) -> Iterator[None]:
        """While the run ``run_id`` is made."""
        if place is not None:
            self._places[run_id] = place
        try:
            yield
        finally:
            self._places.pop(run_id, None)

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None:
        """Nobody waits: turns of one key are made one after the other."""

    async def begin(self, run: RunInfo, policy: DoubleTexting, now_ms: int) -> SessionState | None:
        """What the run finds; None for one without a session."""
        if (place := self._places.get(run.run_id)) is None:
            return None
        with translated(), encoding():
            row = await self._pool.fetchrow(_BEFORE, self._tenant, *place)
            row = row or await self._pool.fetchrow(_LIVE, self._tenant, place.session_id, self._from)
        return SessionState(**row) if row else SessionState()

    async def keep(self, place: Place | None, result: Message) -> None:
        """What the run that ended so has left. One that the replay could not answer has left nothing."""
        if place is not None and isinstance(result, AgentResult) and result.session is not None:
            left = result.session.left
            with translated(), encoding():
                await self._pool.execute(
                    _KEEP, self._tenant, *place, left.turns, left.head, left.stored, left.result_ref
                )

    async def forget_old(self) -> None:
        """What is too old, of any replay, goes."""
        with translated():
            await self._pool.execute(_FORGET, KEPT_DAYS)


class SessionsAccount:
    """The sessions of a replay's candidate, counted in the order of the events."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        self._turns = 0
        self._from_live = 0

    def note(self, place: Place, result: AgentResult) -> None:
        if result.session is None:
            return
        self._turns += 1
        scope = place.partition_key, place.partition
        if scope not in self._keys[place.session_id]:
            self._from_live += result.session.found.turns > 0
        self._keys[place.session_id].add(scope)

    def facts(self) -> dict[str, int]:
        """``from_live`` began with what live runs had left before the range; the other ``conversations`` with nothing."""
        return {
            "sessions": len(self._keys),
            "conversations": sum(map(len, self._keys.values())),
            "turns": self._turns,
            "from_live": self._from_live,
            "of_several_keys": sum(len(scopes) > 1 for scopes in self._keys.values()),
        }
