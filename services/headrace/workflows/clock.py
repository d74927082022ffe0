"""Times that runs and schedules wait for: looked for in Postgres, said on ``workflow.signals`` when they have come.

A row is locked while its signal is published and forgotten only after, so no time is missed whoever dies, and replicas share the
work. A time that is said twice has the same id and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

import asyncpg

from headrace.messages.errors import HeadraceError
from headrace.messages.ids import workflow_run_id
from headrace.messages.workflow import WorkflowSignal, WorkStart
from headrace.observe.logging import get_logger
from headrace.postgres.errors import translated
from headrace.runtime.api import Send

log = get_logger(__name__)

_BATCH: Final = 200
_DUE_RUNS: Final = """
SELECT tenant, run_id, wakes_at FROM workflow_runs WHERE wakes_at <= now() ORDER BY wakes_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_SAID: Final = """
UPDATE workflow_runs SET wakes_at = NULL FROM unnest($1::text[], $2::text[]) AS said (tenant, run_id)
WHERE workflow_runs.tenant = said.tenant AND workflow_runs.run_id = said.run_id
"""
_DUE_SCHEDULES: Final = """
SELECT tenant, tag, next_at FROM workflows WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_NEXT: Final = """
UPDATE workflows SET next_at = next_at + every_s * ceil((extract(epoch FROM now() - next_at) + 0.001) / every_s) * interval '1 s'
FROM unnest($1::text[], $2::text[]) AS said (tenant, tag)
WHERE workflows.tenant = said.tenant AND workflows.tag = said.tag
"""

Publish = Callable[[Sequence[Send]], Awaitable[None]]
Signal = Callable[[asyncpg.Record], WorkflowSignal]


async def said(pool: asyncpg.Pool, publish: Publish) -> int:
    """Say what is due now; how much that was. Raises ``DependencyUnavailable``; then nothing is forgotten."""
    runs = await _say(pool, publish, _DUE_RUNS, _tick, _SAID, "run_id")
    return runs + await _say(pool, publish, _DUE_SCHEDULES, _scheduled, _NEXT, "tag")


async def _say(pool: asyncpg.Pool, publish: Publish, due: str, signal: Signal, done: str, name: str) -> int:
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(due, _BATCH)
            if rows:
                await publish([Send(signal(row)) for row in rows])
                await connection.execute(done, [row["tenant"] for row in rows], [row[name] for row in rows])
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


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


@asynccontextmanager
async def running_clock(pool: asyncpg.Pool, publish: Publish, *, every_s: float = 0.25) -> AsyncIterator[None]:
    """The clock, in the background. While Postgres or Kafka are away times are late, and none is lost."""
    ticking = asyncio.create_task(_run(pool, publish, every_s), name="workflow-clock")
    try:
        yield
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


async def _run(pool: asyncpg.Pool, publish: Publish, every_s: float) -> None:
    failing = False
    while True:
        number = 0
        try:
            number = await said(pool, publish)
            failing = False
        except HeadraceError as error:
            if not failing:  # once for an outage
                log.warning("workflow_clock_waits", reason=type(error).__name__)
            failing = True
        if number < _BATCH:
            await asyncio.sleep(every_s)
