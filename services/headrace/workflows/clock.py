"""Times that runs and schedules wait for: looked for in Postgres, said on ``workflow.signals`` when they have come.

A row is locked while its signal is published and forgotten only after, so no time is missed whoever dies, and replicas share the
work. A time that is said twice has the same id and changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from headrace.messages.ids import workflow_run_id
from headrace.messages.workflow import WorkflowSignal, WorkStart
from headrace.postgres.errors import translated
from headrace.postgres.repeated import repeated
from headrace.runtime.api import Send
from headrace.workflows.schedule import Schedule

_BATCH: Final = 200
_DUE_RUNS: Final = """
SELECT tenant, run_id, wakes_at FROM workflow_runs WHERE wakes_at <= now() ORDER BY wakes_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_NEXT_RUNS: Final = """
UPDATE workflow_runs SET wakes_at = said.next FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS said (tenant, run_id, next)
WHERE workflow_runs.tenant = said.tenant AND workflow_runs.run_id = said.run_id
"""
_DUE_SCHEDULES: Final = """
SELECT tenant, tag, next_at, every_s, calendars, now() AS now FROM workflows
WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_NEXT_SCHEDULES: Final = """
UPDATE workflows SET next_at = said.next FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS said (tenant, tag, next)
WHERE workflows.tenant = said.tenant AND workflows.tag = said.tag
"""

Publish = Callable[[Sequence[Send]], Awaitable[None]]


class _Times(NamedTuple):
    """Where times are waited for: those that are due, what is said of each, by which name, and when it is due again."""

    due: str
    signal: Callable[[asyncpg.Record], WorkflowSignal]
    name: str
    next: Callable[[asyncpg.Record], datetime | None]
    move: str


async def said(pool: asyncpg.Pool, publish: Publish) -> int:
    """Say what is due now; how much that was. Raises ``DependencyUnavailable``; then nothing is forgotten."""
    return await _say(pool, publish, _RUNS) + await _say(pool, publish, _SCHEDULES)


async def _say(pool: asyncpg.Pool, publish: Publish, times: _Times) -> int:
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(times.due, _BATCH)
            if rows:
                await publish([Send(times.signal(row)) for row in rows])
                moved = [(row["tenant"], row[times.name], times.next(row)) for row in rows]
                await connection.execute(times.move, *zip(*moved, strict=True))
            return len(rows)


def _tick(row: asyncpg.Record) -> WorkflowSignal:
    at_ms = _ms(row["wakes_at"])
    id_ = f"{row['run_id']}:tick:{at_ms}"
    return WorkflowSignal(tenant=row["tenant"], run_id=row["run_id"], id=id_, kind="tick", at_ms=at_ms)


def _scheduled(row: asyncpg.Record) -> WorkflowSignal:
    """A start named by the time that was due: times that passed while nobody looked are one start."""
    run_id = workflow_run_id(row["tenant"], row["tag"], f"schedule:{_ms(row['next_at'])}")
    input_: dict[str, Any] = {"scheduled_at": row["next_at"].isoformat()}
    start = WorkStart(tag=row["tag"], input=input_, trigger="schedule")
    return WorkflowSignal(tenant=row["tenant"], run_id=run_id, id=f"{run_id}:start", kind="start", start=start)


def _following(row: asyncpg.Record) -> datetime | None:
    schedule = msgspec.convert({"every_s": row["every_s"], "calendars": row["calendars"]}, Schedule)
    return schedule.following(row["next_at"], row["now"])


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


_RUNS: Final = _Times(_DUE_RUNS, _tick, "run_id", lambda _: None, _NEXT_RUNS)
_SCHEDULES: Final = _Times(_DUE_SCHEDULES, _scheduled, "tag", _following, _NEXT_SCHEDULES)


def running_clock(pool: asyncpg.Pool, publish: Publish, *, every_s: float = 0.25) -> AbstractAsyncContextManager[None]:
    """The clock, in the background. While Postgres or Kafka are away times are late, and none is lost."""

    async def look() -> int:
        return await said(pool, publish)

    return repeated(look, every_s=every_s, name="workflow-clock", failed="workflow_clock_waits", full=_BATCH)
