"""The part that keeps waits, on real Postgres: what is read twice, what comes at once, what comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import get_args

import asyncpg
import msgspec
import pytest
from prometheus_client import Gauge

from headrace.blobs.memory import MemoryBlobs
from headrace.control.approvals import PostgresApprovals
from headrace.control.cancellations import PostgresCancellations
from headrace.messages.errors import BadMessage, DependencyUnavailable, RejectedMessage
from headrace.messages.job import Job
from headrace.messages.run import ToolCalls, ToolResults
from headrace.messages.wait import Kind, WaitCompletion
from headrace.observe.metrics import FORGOTTEN, PARKED, PARKED_OLDEST, PARKED_OVERDUE
from headrace.orchestration.standing import Standing
from headrace.orchestration.waits.part import Waits
from headrace.orchestration.waits.store import PostgresWaits
from headrace.orchestration.waits.sweep import Sweeper
from headrace.postgres.pool import open_pool
from headrace.runtime.api import Send
from tests.orchestration.records import HASH, PARKED_MS, at, child_result, decided, pending, said, wait
from tests.postgres.database import empty_pool, mesh_settings, pool

__all__ = ["empty_pool", "pool"]


def part(pool: asyncpg.Pool) -> Waits:
    return Waits(PostgresWaits(pool), MemoryBlobs(), 1_024)


class Recording:
    def __init__(self) -> None:
        self.sends: list[Send] = []
        self.fail = False

    async def publish(self, sends: Sequence[Send]) -> None:
        if self.fail:
            raise DependencyUnavailable("Kafka is away")
        self.sends += sends

    def taken(self) -> list[WaitCompletion]:
        sends, self.sends = self.sends, []
        return sorted(
            (send.message for send in sends if isinstance(send.message, WaitCompletion)), key=lambda m: m.call_id
        )


async def test_a_wait_goes_on_when_the_last_is_in_and_says_the_same_when_read_again(pool: asyncpg.Pool) -> None:
    waits = part(pool)
    parked = wait("agent", "agent", done=1)
    jobs = [send.message for send in await waits.handle(parked, at(0, "run.waits"))]
    assert [job.job_id for job in jobs if isinstance(job, Job)] == ["run-1-child-2", "run-1-child-3"]
    assert await waits.handle(parked, at(0, "run.waits")), "still open: its transaction may not have been committed"
    assert await waits.handle(child_result(3), at(1, "agent.results")) == []
    assert await waits.handle(child_result(3), at(1, "agent.results")) == [], "read again"
    (last,) = await waits.handle(child_result(2), at(2, "agent.results", PARKED_MS + 5))
    assert isinstance(last.message, ToolResults)
    assert [one.call_id for one in last.message.results] == ["call_1_1", "call_1_2", "call_1_3"]
    assert last.headers["ce_correlationid"] == "first"
    (again,) = await waits.handle(child_result(2), at(2, "agent.results", PARKED_MS + 5))
    assert msgspec.json.encode(again.message) == msgspec.json.encode(last.message)
    assert await waits.handle(child_result(2), at(9, "agent.results")) == [], "another record of it"
    assert await waits.handle(parked, at(0, "run.waits")) == [], "it is closed: no sub-agent begins again"


async def test_of_many_at_once_on_many_instances_one_closes(database_url: str, pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_pool(mesh_settings(database_url))) for _ in range(3)]
        parts = [part(one) for one in pools]
        for run in range(8):
            parked = wait("agent", "agent", "agent", run_id=f"run-{run}")
            await parts[0].handle(parked, at(run, "run.waits"))
        ended = await asyncio.gather(
            *(
                parts[number % 3].handle(child_result(number, f"run-{run}"), at(100 * run + number, "agent.results"))
                for run in range(8)
                for number in (1, 2, 3)
            )
        )
    records = [send.message for sends in ended for send in sends]
    assert sorted(record.run.run_id for record in records if isinstance(record, ToolResults)) == [
        f"run-{run}" for run in range(8)
    ]


async def test_the_first_decision_counts(pool: asyncpg.Pool) -> None:
    waits, approvals = part(pool), PostgresApprovals(pool)
    await waits.handle(wait("approval", "approval"), at(0, "run.waits"))
    assert await waits.handle(decided("deny", 1, reason="no"), at(1)) == []
    assert await waits.handle(decided("approve", 1), at(2)) == [], "too late"
    assert await waits.handle(decided("approve", 2, arguments_hash="0" * 64), at(3)) == [], "other arguments"
    first, second = sorted((await approvals.questions("t", state=None)).approvals, key=lambda one: one.call_id)
    assert (first.state, first.decided_by, first.reason) == ("denied", "key-7", "no")
    assert (second.state, second.decided_by, second.arguments_hash) == ("pending", None, HASH)
    (last,) = await waits.handle(decided("approve", 2), at(4))
    assert isinstance(last.message, ToolCalls)
    assert [one.call_id for one in last.message.approvals] == ["call_1_2"]
    assert last.message.results[0].error is not None
    assert last.message.results[0].error.type == "denied"
    assert await waits.handle(decided("approve", 2, run_id="nobody"), at(5)) == []


async def test_questions_are_read_by_tenant_and_page(pool: asyncpg.Pool) -> None:
    waits, approvals = part(pool), PostgresApprovals(pool)
    for number in range(5):
        await waits.handle(wait("approval", "timer", run_id=f"run-{number}"), at(number, "run.waits"))
    seen, cursor = [], None
    while True:
        page = await approvals.questions("t", state="pending", limit=2, cursor=cursor)
        seen += [one.run_id for one in page.approvals]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == [f"run-{number}" for number in range(5)]
    assert (await approvals.questions("other", state=None)).approvals == []
    one = (await approvals.questions("t", state=None, limit=1)).approvals[0]
    whole = await approvals.question("t", one.id)
    assert whole is not None
    assert (whole.arguments, one.arguments) == ({"amount": 12, "to": "ada"}, None)
    assert await approvals.question("other", one.id) is None
    assert await approvals.question("t", "no-id") is None
    for cursor in ("x", "bm8", "WyIxIiwiMiJd", "!"):
        with pytest.raises(BadMessage):
            await approvals.questions("t", state=None, cursor=cursor)


async def test_a_wait_for_a_call_that_nobody_made_is_refused(pool: asyncpg.Pool) -> None:
    strange = wait("approval").replace(pending=(pending(7),))
    with pytest.raises(RejectedMessage):
        await part(pool).handle(strange, at(0, "run.waits"))


async def test_what_is_due_is_said_once_for_a_while(pool: asyncpg.Pool) -> None:
    waits, kafka = part(pool), Recording()
    sweeper = Sweeper(pool, kafka, timedelta(hours=1))
    await waits.handle(wait("approval", "agent"), at(0, "run.waits"))  # due long from now: 2027
    late = wait("approval", "timer", run_id="late")
    await waits.handle(
        late.replace(pending=tuple(one.replace(deadline_ms=1_000) for one in late.pending)), at(1, "run.waits")
    )
    kafka.fail = True
    with pytest.raises(DependencyUnavailable):
        await sweeper.sweep()
    kafka.fail = False
    assert await sweeper.sweep() == 0, "an instance had them a moment ago"
    await pool.execute("UPDATE wait_calls SET swept_at = swept_at - interval '11 s'")
    assert await sweeper.sweep() == 2
    first, second = kafka.taken()
    assert (first.run_id, first.call_id, first.cause, second.call_id) == ("late", "call_1_1", "due", "call_1_2")
    assert await waits.handle(first, at(5)) == []
    (gone_on,) = await waits.handle(second, at(6))
    assert isinstance(gone_on.message, ToolResults)
    assert [one.status for one in gone_on.message.results] == ["error", "ok"], "no answer is no; a moment comes"
    await pool.execute("UPDATE wait_calls SET swept_at = NULL")
    assert await sweeper.sweep() == 0, "settled"


async def test_a_cancelled_run_has_its_sub_agents_cancelled_first(pool: asyncpg.Pool) -> None:
    waits, kafka, cancellations = part(pool), Recording(), PostgresCancellations(pool)
    sweeper = Sweeper(pool, kafka, timedelta(hours=1))
    await waits.handle(wait("approval", "agent"), at(0, "run.waits"))
    await waits.handle(wait("approval", "agent", run_id="other"), at(1, "run.waits"))
    assert await sweeper.sweep() == 0
    await cancellations.ask("t", "run-1")
    assert await sweeper.sweep() == 1
    (cancelled,) = kafka.taken()
    assert (cancelled.run_id, cancelled.call_id, cancelled.cause) == ("run-1", "call_1_1", "cancelled")
    names, _ = await cancellations.since(None)
    assert set(names) == {("t", "run-1"), ("t", "run-1-child-2")}
    assert await waits.handle(cancelled, at(2)) == [], "its sub-agent has not ended"
    failed = child_result(2, status="failed", output=None)
    (gone_on,) = await waits.handle(failed, at(3, "agent.results"))
    assert isinstance(gone_on.message, ToolResults)
    assert gone_on.message.cancelled, "reasoning need not have heard of it yet"
    await pool.execute("DELETE FROM cancellations")
    (again,) = await waits.handle(failed, at(3, "agent.results"))
    assert again.message == gone_on.message


async def test_what_was_approved_is_not_made_for_a_run_that_was_cancelled(pool: asyncpg.Pool) -> None:
    waits = part(pool)
    await waits.handle(wait("approval", "approval"), at(0, "run.waits"))
    await waits.handle(decided("approve", 1), at(1))
    await PostgresCancellations(pool).ask("t", "run-1")
    (ended,) = await waits.handle(decided("approve", 2), at(2))
    assert isinstance(ended.message, ToolResults)
    assert ended.message.cancelled
    assert [one.error and one.error.type for one in ended.message.results] == ["cancelled", "cancelled"]


async def test_a_wait_that_is_over_is_forgotten_in_time(pool: asyncpg.Pool) -> None:
    waits = part(pool)
    await waits.handle(wait("timer"), at(0, "run.waits"))
    await waits.handle(wait("timer", run_id="open"), at(1, "run.waits"))
    assert await waits.handle(said(), at(2))
    await pool.execute("UPDATE waits SET closed_at = now() - interval '2 hours' WHERE closed_at IS NOT NULL")
    await Sweeper(pool, Recording(), timedelta(hours=3)).sweep()
    assert await pool.fetchval("SELECT count(*) FROM waits") == 2
    await Sweeper(pool, Recording(), timedelta(hours=1)).sweep()
    assert [row["run_id"] for row in await pool.fetch("SELECT run_id FROM wait_calls")] == ["open"]


async def test_what_waits_is_measured_by_kind(pool: asyncpg.Pool) -> None:
    waits, standing = part(pool), Standing(pool)
    await waits.handle(wait("agent", "agent", "approval"), at(0, "run.waits"))
    late = wait("timer", run_id="late")
    await waits.handle(
        late.replace(pending=(late.pending[0].replace(deadline_ms=1_000),)), at(1, "run.waits", 1_700_000_000_000)
    )

    async def measured(gauge: Gauge) -> dict[str, float]:
        await standing.measure()
        return {name: value for name in get_args(Kind) if (value := gauge.labels(name)._value.get())}

    assert await measured(PARKED) == {"agent": 1, "approval": 1, "timer": 1}, "runs, not calls"
    assert await measured(PARKED_OVERDUE) == {"timer": 1}
    assert (await measured(PARKED_OLDEST))["timer"] > 86_400
    await waits.handle(said(1, run_id="late"), at(2))
    assert await measured(PARKED) == {"agent": 1, "approval": 1}
    assert await measured(PARKED_OVERDUE) == {}


async def test_what_is_over_is_forgotten_and_counted(pool: asyncpg.Pool) -> None:
    waits = part(pool)
    for run, ms in (("old", 1_700_000_000_000), ("open", 1_700_000_000_000)):
        await waits.handle(wait("timer", run_id=run), at(0, "run.waits", ms))
    await waits.handle(said(1, run_id="old"), at(1, ms=1_700_000_000_000))
    before = FORGOTTEN.labels("wait").value
    await Sweeper(pool, Recording(), timedelta(hours=1)).sweep()
    assert [row["run_id"] for row in await pool.fetch("SELECT run_id FROM wait_calls")] == ["open"]
    assert FORGOTTEN.labels("wait").value == before + 1
