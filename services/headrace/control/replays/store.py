"""The table of replays, for those who ask: begin one, look at it, cancel it, resume it. Every method raises
``DependencyUnavailable`` when Postgres is away.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import asyncpg

from headrace.control.replays.requests import Asked, ShadowRequest
from headrace.control.replays.states import MOVES, Said, State
from headrace.messages.errors import BadMessage
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

COLUMNS: Final = """
tenant, replay_id, kind, state, agent_name, request, plan, started_by, detached, follows, dry_run, confirmed, estimate,
progress, spent_usd, error, CASE WHEN lease_until > now() THEN holder END AS holder, created_at, updated_at, began_at, ended_at
"""
_INSERT: Final = f"""
INSERT INTO replays
    (tenant, replay_id, kind, state, agent_name, request, plan, started_by, detached, follows, dry_run, confirmed, estimate)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING RETURNING {COLUMNS}
"""  # noqa: S608 (constants)
_GET: Final = f"SELECT {COLUMNS} FROM replays WHERE tenant = $1 AND replay_id = $2"  # noqa: S608
_LIST: Final = f"""
SELECT {COLUMNS}, report FROM replays WHERE tenant = $1 AND ($2::text IS NULL OR state = $2)
ORDER BY created_at DESC LIMIT $3
"""  # noqa: S608
# Whoever resumes what has an estimate has seen it, and agrees.
_MOVE: Final = f"""
UPDATE replays SET state = $3, updated_at = now(), error = NULL, holder = NULL, lease_until = NULL,
    dry_run = false, confirmed = confirmed OR ($3 = 'queued' AND estimate IS NOT NULL),
    ended_at = CASE WHEN $3 = 'cancelled' THEN now() END
WHERE tenant = $1 AND replay_id = $2 AND state = ANY ($4) RETURNING {COLUMNS}
"""  # noqa: S608
_REPORT: Final = "SELECT report, page FROM replays WHERE tenant = $1 AND replay_id = $2"


class ReplayTaken(BadMessage):
    """Another replay has that id."""

    cause = "replay_id"


class CantMove(BadMessage):
    """Not in the state that the replay is in; ``state`` is that one."""

    cause = "replay_state"

    def __init__(self, replay_id: str, state: State, said: Said) -> None:
        super().__init__(f"can't {said} replay {replay_id}: it is {state}")
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReplay:
    """``plan`` is the plan's own JSON, where it is settled already; ``detached``: the service works on it."""

    tenant: str
    replay_id: str
    kind: str
    agent: str
    request: dict[str, Any]
    started_by: str
    detached: bool
    follows: bool = False
    dry_run: bool = False
    confirmed: bool = False
    plan: str | None = None
    estimate: dict[str, Any] | None = None

    @classmethod
    def asked(cls, tenant: str, request: Asked, started_by: str) -> Self:
        """What ``request`` asks of the service."""
        return cls(
            tenant=tenant,
            replay_id=request.replay_id or f"replay-{uuid.uuid4().hex[:10]}",
            kind=request.kind,
            agent=getattr(request, "agent", None) or "",
            request=request.plain(),
            started_by=started_by,
            detached=True,
            follows=isinstance(request, ShadowRequest) and request.follow,
            dry_run=request.dry_run,
            confirmed=request.confirm,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A row. ``agent_name`` is empty where a re-run is of all; ``holder`` works on it now."""

    tenant: str
    replay_id: str
    kind: str
    state: State
    agent_name: str
    request: dict[str, Any] | None
    plan: str | None
    started_by: str
    detached: bool
    follows: bool
    dry_run: bool
    confirmed: bool
    estimate: dict[str, Any] | None
    progress: dict[str, Any] | None
    spent_usd: float
    error: str | None
    holder: str | None
    created_at: datetime
    updated_at: datetime
    began_at: datetime | None
    ended_at: datetime | None

    def facts(self) -> dict[str, Any]:
        """As the API and the command line show it."""
        return {
            "replay_id": self.replay_id,
            "kind": self.kind,
            "state": self.state,
            "agent": self.agent_name or None,
            "follows": self.follows,
            "started_by": self.started_by or None,
            "estimate": self.estimate,
            "progress": self.progress,
            "spent_usd": self.spent_usd,
            "error": self.error,
            "holder": self.holder,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "began_at": self.began_at,
            "ended_at": self.ended_at,
        }


class Replays:
    """On a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, new: NewReplay) -> Replay:
        """Queue it. The same id with the same request gives the job that there is.

        Raises:
            ReplayTaken: the id is another request's.
        """
        about = new.kind, new.agent, new.request, new.plan, new.started_by
        how = new.detached, new.follows, new.dry_run, new.confirmed
        with translated(), encoding():
            row = await self._pool.fetchrow(_INSERT, new.tenant, new.replay_id, *about, *how, new.estimate)
        made = replay_of(row) if row else await self.get(new.tenant, new.replay_id)
        if made is None or (row is None and (made.request != new.request or not (made.detached and new.detached))):
            raise ReplayTaken(f"there is a replay {new.replay_id} already")
        return made

    async def get(self, tenant: str, replay_id: str) -> Replay | None:
        with translated():
            row = await self._pool.fetchrow(_GET, tenant, storable_text(replay_id))
        return replay_of(row) if row else None

    async def latest(
        self, tenant: str, limit: int = 50, state: State | None = None
    ) -> list[tuple[Replay, dict[str, Any] | None]]:
        """Newest first, each with its report if there is one."""
        with translated():
            rows = await self._pool.fetch(_LIST, tenant, state, limit)
        return [(replay_of(row), row["report"]) for row in rows]

    async def report(self, tenant: str, replay_id: str) -> tuple[dict[str, Any] | None, str | None]:
        """As JSON and as an HTML page; None for what there is not, or not yet."""
        with translated():
            row = await self._pool.fetchrow(_REPORT, tenant, storable_text(replay_id))
        return (row["report"], row["page"]) if row else (None, None)

    async def cancel(self, tenant: str, replay_id: str) -> Replay | None:
        """End it: whoever works on it stops within seconds. None: there is no such. Raises ``CantMove`` for one that has ended."""
        return await self._say(tenant, replay_id, "cancel")

    async def resume(self, tenant: str, replay_id: str) -> Replay | None:
        """Queue it again, where it was; what waits for a yes has it then. None: there is no such. Raises ``CantMove`` for one
        that is done. One that is under way stays as it is.
        """
        found = await self.get(tenant, replay_id)
        return found if found and found.state == "running" else await self._say(tenant, replay_id, "resume")

    async def _say(self, tenant: str, replay_id: str, said: Said) -> Replay | None:
        allowed, then = MOVES[said]
        with translated():
            row = await self._pool.fetchrow(_MOVE, tenant, storable_text(replay_id), then, list(allowed))
        if row:
            return replay_of(row)
        found = await self.get(tenant, replay_id)
        if found is None or found.state == then:
            return found
        raise CantMove(replay_id, found.state, said)


def replay_of(row: asyncpg.Record) -> Replay:
    """A row of ``COLUMNS``."""
    return Replay(**{name: row[name] for name in Replay.__dataclass_fields__})
