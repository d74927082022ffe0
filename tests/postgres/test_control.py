"""Turns and cancellations on real Postgres: what replicas on one database can get wrong, and what a crash leaves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import asyncpg
from structlog.testing import capture_logs

from headrace.control.cancellations import PostgresCancellations, followed
from headrace.control.turns import PostgresTurns
from headrace.messages.errors import DependencyUnavailable
from headrace.postgres.pool import open_pool
from tests.postgres.database import mesh_settings

ADD_RUN = "INSERT INTO runs (tenant, run_id, precedence, state, created_at) VALUES ('t', $1, 0, $2, now())"
END_RUN = "UPDATE runs SET state = 'failed' WHERE run_id = $1"


async def take(turns: PostgresTurns, run_id: str, agent: str = "a", *, limit: int = 1, hold_s: float = 60) -> bool:
    return await turns.take("t", agent, run_id, limit=limit, hold_s=hold_s)


async def test_a_turn_is_one_agent_s_until_the_run_has_ended(pool: asyncpg.Pool) -> None:
    turns = PostgresTurns(pool)
    assert await take(turns, "r1")
    await turns.published("t", "r1")
    assert not await take(turns, "r2")
    assert await take(turns, "other", agent="b")
    assert await turns.take("t2", "a", "r1", limit=1, hold_s=60), "another tenant's agent"
    await pool.execute(ADD_RUN, "r1", "running")
    assert not await take(turns, "r2")
    await pool.execute(END_RUN, "r1")
    assert await take(turns, "r2")
    assert not await take(turns, "r3")


async def test_the_limit_holds_over_gateways_that_ask_at_once(database_url: str, pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_pool(mesh_settings(database_url))) for _ in range(3)]
        gateways = [PostgresTurns(one) for one in pools]
        got = await asyncio.gather(*(take(gateways[n % 3], f"r{n}", limit=2) for n in range(30)))
    assert sum(got) == 2


async def test_a_gateway_that_died_before_it_published_blocks_nobody_for_long(pool: asyncpg.Pool) -> None:
    turns = PostgresTurns(pool, unpublished_s=0.2)
    assert await take(turns, "lost")
    assert await turns.agent("t", "lost") == "a"
    assert not await take(turns, "r2")
    await asyncio.sleep(0.3)
    assert await turns.agent("t", "lost") is None
    assert await take(turns, "r2")


async def test_one_that_died_right_after_it_published_holds_its_turn(pool: asyncpg.Pool) -> None:
    turns = PostgresTurns(pool, unpublished_s=0)
    assert await take(turns, "r1")
    await pool.execute(ADD_RUN, "r1", "running")
    assert not await take(turns, "r2"), "the index knows the run"


async def test_a_run_that_never_ends_is_waited_for_as_long_as_it_may_take(pool: asyncpg.Pool) -> None:
    turns = PostgresTurns(pool)
    assert await take(turns, "r1", hold_s=0.2)
    await turns.published("t", "r1")
    await pool.execute(ADD_RUN, "r1", "running")
    assert not await take(turns, "r2")
    await asyncio.sleep(0.3)
    assert await take(turns, "r2")


async def test_a_cancellation_reaches_every_process_and_ends_what_waits(pool: asyncpg.Pool) -> None:
    cancellations = PostgresCancellations(pool)
    await cancellations.ask("t", "before")
    async with followed(cancellations, every_s=0.02) as one, followed(cancellations, every_s=0.02) as other:
        stopped = asyncio.Event()
        one.watch(("t", "r1"), stopped.set)
        unwatch = other.watch(("t", "r1"), lambda: pytest_fail())
        unwatch()
        await cancellations.ask("t", "r1")
        await cancellations.ask("t", "r1")
        await asyncio.wait_for(stopped.wait(), 20)
        async with asyncio.timeout(20):
            while ("t", "r1") not in other:
                await asyncio.sleep(0.02)
        assert ("t", "before") in one
        assert ("other", "r1") not in one


async def test_an_outage_is_told_once_and_then_made_up_for() -> None:
    class Flaky:
        """Away for the first three questions."""

        asked = 0

        async def since(self, after: datetime | None) -> tuple[list[tuple[str, str]], datetime]:
            self.asked += 1
            if self.asked <= 3:
                raise DependencyUnavailable("away")
            return [("t", "r1")] if after is None else [], datetime.now(UTC)

    flaky: Any = Flaky()
    with capture_logs() as lines:
        async with followed(flaky, every_s=0.001) as runs, asyncio.timeout(20):
            while ("t", "r1") not in runs or flaky.asked < 6:
                await asyncio.sleep(0.001)
    assert [line["event"] for line in lines] == ["cancellations_not_read", "outage_over"]


def pytest_fail() -> None:
    raise AssertionError("called after the watch had ended")


async def test_old_cancellations_are_forgotten(pool: asyncpg.Pool) -> None:
    cancellations = PostgresCancellations(pool)
    await pool.execute("INSERT INTO cancellations VALUES ('t', 'old', now() - interval '26 hours')")
    await cancellations.ask("t", "new")
    assert await pool.fetch("SELECT run_id FROM cancellations") == [("new",)]
    names, _ = await cancellations.since(None)
    assert names == [("t", "new")]
