"""Runs of workflows in Postgres: the state of each, and what every event of it led to.

An event is applied in one transaction behind the lock of its run's row: two ends of one join are one after the other, whichever
processes have them. What the event led to is stored with it, so reading its record again changes nothing and gives the same
commands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec

from headrace.messages.base import JsonObject, Part
from headrace.messages.workflow import WorkStart
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text
from headrace.workflows.events import Begin, Command, End, Stop
from headrace.workflows.state import ENDED, RunState, Unit

_SEEN: Final = "SELECT e.commands FROM workflow_events e WHERE e.tenant = $1 AND e.run_id = $2 AND e.event_id = $3"
_LOCKED: Final = (
    f"SELECT r.state, ({_SEEN}) AS seen FROM workflow_runs r WHERE r.tenant = $1 AND r.run_id = $2 FOR UPDATE"  # noqa: S608
)
_PINNED: Final = "SELECT * FROM workflow_runs WHERE tenant = $1 AND run_id = $2"
_WRITE: Final = """
WITH kept AS (
    UPDATE workflow_runs SET state = $4, status = $5, wakes_at = $6, ended_at = $7 WHERE tenant = $1 AND run_id = $2
)
INSERT INTO workflow_events (tenant, run_id, event_id, commands) VALUES ($1, $2, $3, $8)
"""
_BEGIN: Final = """
WITH begun AS (
    INSERT INTO workflow_runs (tenant, run_id, tag, version, trigger, user_id, depth, parent_run_id, parent_work_id,
        status, state, wakes_at, started_at, ended_at)
    VALUES ($1, $2, $9, $10, $11, $12, $13, $14, $15, $5, $4, $6, $16, $7) ON CONFLICT DO NOTHING RETURNING true
)
INSERT INTO workflow_events (tenant, run_id, event_id, commands) SELECT $1, $2, $3, $8 FROM begun
"""
_SHOWN: Final = "tag, run_id, version, trigger, user_id, parent_run_id, status, started_at, ended_at"
_ONE: Final = f"SELECT {_SHOWN}, state FROM workflow_runs WHERE tenant = $1 AND run_id = $2"  # noqa: S608
_PAGE: Final = f"""
SELECT {_SHOWN} FROM workflow_runs
WHERE tenant = $1 AND ($2::text IS NULL OR tag = $2) AND ($3::text IS NULL OR status = $3)
ORDER BY started_at DESC, run_id LIMIT $4
"""  # noqa: S608


class Pinned(Part, frozen=True, kw_only=True):
    """What never changes about a run."""

    tenant: str
    run_id: str
    tag: str
    version: int
    start: WorkStart
    started_ms: int


class Applied(Part, frozen=True, kw_only=True):
    """What came of an event; ``again`` if it had come before."""

    run: Pinned
    commands: tuple[Command, ...]
    again: bool = False


Advance = Callable[[RunState], tuple[RunState, tuple[Command, ...]]]


class WorkflowRuns:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(
        self, run: Pinned, event_id: str, state: RunState, commands: tuple[Command, ...], now_ms: int
    ) -> Applied | None:
        """Store a run that has just begun. If it is there already: what this very event led to, or None if another began it."""
        start, parent = run.start, run.start.parent
        facts = (run.tag, run.version, start.trigger, start.user_id, start.depth)
        above = (parent.run_id, parent.work_id) if parent else (None, None)
        with translated(), encoding():
            done = await self._pool.execute(
                _BEGIN, *_values(run, event_id, state, commands, now_ms), *facts, *above, _time(run.started_ms)
            )
            if done == "INSERT 0 1":
                return Applied(run=run, commands=commands)
            seen = await self._pool.fetchval(_SEEN, run.tenant, run.run_id, event_id)
        return None if seen is None else Applied(run=run, commands=_commands(seen), again=True)

    async def pinned(self, tenant: str, run_id: str) -> Pinned | None:
        """What never changes about a run; None if there is none of this name."""
        with translated(), encoding():
            row = await self._pool.fetchrow(_PINNED, storable_text(tenant), storable_text(run_id))
        return None if row is None else _pinned(row)

    async def apply(self, run: Pinned, event_id: str, advance: Advance, now_ms: int) -> Applied:
        """Take in one event of a run. An event that changes nothing leaves nothing behind either."""
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(_LOCKED, run.tenant, run.run_id, event_id)
                if row is None:  # it ended long ago, and was removed
                    return Applied(run=run, commands=(), again=True)
                if row["seen"] is not None:
                    return Applied(run=run, commands=_commands(row["seen"]), again=True)
                before = RunState.checked(row["state"])
                state, commands = advance(before)
                if commands or state != before:
                    await connection.execute(_WRITE, *_values(run, event_id, state, commands, now_ms))
                return Applied(run=run, commands=commands)

    async def get(self, tenant: str, run_id: str) -> JsonObject | None:
        """One run with its nodes, as JSON."""
        with translated(), encoding():
            row = await self._pool.fetchrow(_ONE, tenant, storable_text(run_id))
        return None if row is None else _view(row) | _detail(RunState.checked(row["state"]))

    async def newest(self, tenant: str, *, tag: str | None, status: str | None, limit: int) -> list[JsonObject]:
        """Runs as JSON, the newest first."""
        with translated(), encoding():
            return [_view(row) for row in await self._pool.fetch(_PAGE, tenant, tag, status, limit)]


def _values(run: Pinned, event_id: str, state: RunState, commands: tuple[Command, ...], now_ms: int) -> tuple[Any, ...]:
    ended = _time(now_ms) if state.status in ENDED else None
    return (
        storable_text(run.tenant),
        storable_text(run.run_id),
        event_id,
        msgspec.to_builtins(state),
        state.status,
        _time(state.wakes_ms()),
        ended,
        [msgspec.to_builtins(command) for command in commands],
    )


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1_000, UTC)


def _commands(stored: list[Any]) -> tuple[Command, ...]:
    commands: tuple[Command, ...] = msgspec.convert(stored, tuple[Begin | Stop | End, ...])
    return commands


def _pinned(row: asyncpg.Record) -> Pinned:
    parent = {"run_id": row["parent_run_id"], "work_id": row["parent_work_id"]} if row["parent_run_id"] else None
    start = {name: row[name] for name in ("tag", "version", "trigger", "user_id", "depth")} | {"parent": parent}
    return Pinned(
        tenant=row["tenant"],
        run_id=row["run_id"],
        tag=row["tag"],
        version=row["version"],
        start=WorkStart.checked(start),
        started_ms=round(row["started_at"].timestamp() * 1_000),
    )


def _view(row: asyncpg.Record) -> JsonObject:
    shown: JsonObject = {name.strip(): row[name.strip()] for name in _SHOWN.split(",")}
    for name in ("started_at", "ended_at"):
        shown[name] = shown[name].isoformat() if shown[name] else None
    return shown


def _work(unit: Unit) -> JsonObject:
    return {"work_id": unit.work_id, "status": unit.status, "attempt": unit.attempt}


def _detail(state: RunState) -> JsonObject:
    nodes = {
        name: {
            "status": node.status,
            "output": node.output,
            "error": msgspec.to_builtins(node.error),
            "work": [_work(unit) for unit in (*node.units, *((node.undo,) if node.undo else ()))],
        }
        for name, node in state.nodes.items()
    }
    return {"input": state.input, "output": state.output, "error": msgspec.to_builtins(state.error), "nodes": nodes}
