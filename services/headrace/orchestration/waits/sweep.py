"""The clock of waits: calls whose time is up, and runs that were cancelled, become completions on ``wait.completions``.

So time and cancellation take the same path as every other completion, and the record, not the clock, is what settles.
A completion that is published twice settles once; one whose publishing failed is due again after ``_AGAIN``.

Cancelling goes leaf-first: a run that waits for sub-agents has them cancelled, goes on with their results, and ends
as cancelled then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal, Protocol

import asyncpg

from headrace.messages.wait import Reported, WaitCompletion
from headrace.observe.logging import get_logger
from headrace.observe.metrics import FORGOTTEN
from headrace.postgres.errors import translated
from headrace.runtime.api import Send

log = get_logger(__name__)
Cause = Literal["reported", "due", "cancelled"]

_AGAIN: Final = timedelta(seconds=10)
AT_ONCE: Final = 500
_DUE: Final = """
WITH due AS (
    SELECT call.tenant, call.run_id, call.step, call.round, call.call_id, waits.agent, call.deadline <= now() AS late
    FROM wait_calls call JOIN waits USING (tenant, run_id, step, round)
    LEFT JOIN cancellations cancelled ON cancelled.tenant = call.tenant AND cancelled.run_id = call.run_id
    WHERE call.settled_by IS NULL AND (call.swept_at IS NULL OR call.swept_at < now() - $1::interval)
        AND (call.deadline <= now() OR (cancelled.run_id IS NOT NULL AND call.kind <> 'agent'))
    ORDER BY call.deadline LIMIT $2
    FOR UPDATE OF call SKIP LOCKED
)
UPDATE wait_calls SET swept_at = now() FROM due
WHERE (wait_calls.tenant, wait_calls.run_id, wait_calls.step, wait_calls.round, wait_calls.call_id)
    = (due.tenant, due.run_id, due.step, due.round, due.call_id)
RETURNING due.*
"""
# A child is cancelled with its parent, and when its parent does not wait for it any longer.
_CANCEL_CHILDREN: Final = """
INSERT INTO cancellations (tenant, run_id)
SELECT call.tenant, call.child_run_id FROM wait_calls call
WHERE call.settled_by IS NULL AND call.child_run_id IS NOT NULL AND (
    call.deadline <= now()
    OR EXISTS (SELECT FROM cancellations asked WHERE asked.tenant = call.tenant AND asked.run_id = call.run_id)
)
ON CONFLICT DO NOTHING
"""
_FORGET: Final = {
    "wait": "DELETE FROM waits WHERE closed_at < now() - $1::interval",
    "intent": "DELETE FROM tool_intents WHERE outcome IS NOT NULL AND begun_at < now() - $1::interval",
}


class Publisher(Protocol):
    async def publish(self, sends: Sequence[Send]) -> None:
        """All of them or none. Raises ``DependencyUnavailable``."""
        ...


class Sweeper:
    """Any number of instances may sweep: each due call is one's for a while."""

    def __init__(self, pool: asyncpg.Pool, publisher: Publisher, keep: timedelta) -> None:
        self._pool = pool
        self._publisher = publisher
        self._keep = keep

    async def sweep(self) -> int:
        """One round; how many completions were published. Raises ``DependencyUnavailable``."""
        with translated():
            await self._pool.execute(_CANCEL_CHILDREN)
            rows = await self._pool.fetch(_DUE, _AGAIN, AT_ONCE)
            for what, statement in _FORGET.items():
                done = await self._pool.execute(statement, self._keep)
                FORGOTTEN.labels(what).inc(int(done.split()[-1]))
        if rows:
            sends = [Send(completion(row, cause="due" if row["late"] else "cancelled")) for row in rows]
            await self._publisher.publish(sends)
            log.info("waits_swept", count=len(rows))
        return len(rows)


def completion(row: asyncpg.Record, *, cause: Cause, reported: Reported | None = None) -> WaitCompletion:
    """What became of the pending call that ``row`` (of ``wait_calls``, with its agent) is."""
    return WaitCompletion(
        tenant=row["tenant"],
        run_id=row["run_id"],
        agent=row["agent"],
        step=row["step"],
        round=row["round"],
        call_id=row["call_id"],
        cause=cause,
        reported=reported,
    )
