"""The queue of sessions on real Postgres: one run at a time over all processes, in order, and nothing locked for good."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from time import time

import asyncpg

from headrace.control.session_queue import Arrival, Place, PostgresSessionQueue
from headrace.messages.run import SessionState
from headrace.postgres.pool import open_pool
from tests.postgres.database import mesh_settings

ADD_RUN = "INSERT INTO runs (tenant, run_id, precedence, state, created_at) VALUES ('t', $1, 0, $2, now())"
LEFT = """
INSERT INTO session_runs (tenant, session_id, run_id, turns, status, completed_at, head, stored, result_ref, pipeline_usage)
VALUES ('t', 's', $1, $2, 'completed', $3, $4, $5, $6, '{}')
"""


WAIT = """
INSERT INTO waits (tenant, run_id, step, round, agent, parked_at, record, correlation)
VALUES ('t', 'asks', 1, 0, 'a', now() - $1::interval, '', '{}')
"""


def place(run_id: str, session_id: str = "s", tenant: str = "t") -> Place:
    return Place(tenant, session_id, run_id)


def arrival(run_id: str, *, seconds: float = 60, interrupts: bool = False, session_id: str = "s") -> Arrival:
    return Arrival(place(run_id, session_id), round((time() + seconds) * 1000), interrupts)


async def test_runs_of_a_session_begin_one_after_the_other_in_order(pool: asyncpg.Pool) -> None:
    queue = PostgresSessionQueue(pool)
    await queue.arrive_all([arrival("r1"), arrival("r2"), arrival("o1", session_id="other")])
    await queue.arrive_all([arrival("r3"), arrival("r1")])
    asked = [place("r3"), place("r2"), place("r1"), place("o1", "other"), place("r1", tenant="t2")]
    assert await queue.first(asked) == {place("r1"), place("o1", "other")}, "another session and tenant are their own"
    await pool.execute(ADD_RUN, "r1", "running")
    assert await queue.first([place("r2")]) == set()
    await pool.execute("UPDATE runs SET state = 'completed' WHERE run_id = 'r1'")
    assert await queue.first([place("r2"), place("r3")]) == {place("r2")}
    await queue.leave(place("r2"))
    assert await queue.first([place("r2"), place("r3")]) == {place("r3")}


async def test_a_run_that_never_ends_lapses(pool: asyncpg.Pool) -> None:
    queue = PostgresSessionQueue(pool)
    await queue.arrive_all([arrival("lost", seconds=0.3), arrival("next")])
    assert await queue.first([place("next")]) == set()
    async with asyncio.timeout(10):
        while place("next") not in await queue.first([place("next")]):
            await asyncio.sleep(0.05)
    await queue.arrive_all([arrival("later")])
    kept = await pool.fetch("SELECT run_id FROM session_queue ORDER BY place")
    assert [row["run_id"] for row in kept] == ["next", "later"], "what is over is forgotten"


async def test_a_run_that_waits_for_somebody_keeps_its_turn(pool: asyncpg.Pool) -> None:
    """Its deadline moves by that time."""
    queue = PostgresSessionQueue(pool)
    await queue.arrive_all([arrival("asks", seconds=-30), arrival("next")])
    assert await queue.first([place("next")]) == {place("next")}
    await pool.execute(WAIT, timedelta(minutes=5))
    await queue.arrive_all([arrival("later")])
    assert await queue.first([place("next"), place("later")]) == set(), "somebody is still asked"
    await pool.execute("UPDATE waits SET closed_at = parked_at + interval '1 minute'")
    assert await queue.first([place("next")]) == set(), "the minute counts on top"
    await pool.execute("UPDATE waits SET closed_at = parked_at + interval '10 seconds'")
    assert await queue.first([place("next")]) == {place("next")}


async def test_of_many_that_arrive_at_once_over_processes_one_is_first(database_url: str, pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_pool(mesh_settings(database_url))) for _ in range(3)]
        queues = [PostgresSessionQueue(one) for one in pools]
        places = [place(f"r{n}") for n in range(30)]

        async def arrive(n: int) -> bool:
            """As it is: whoever sees nobody before itself begins, and stays."""
            await queues[n % 3].arrive_all([arrival(f"r{n}")])
            return bool(await queues[n % 3].first([places[n]]))

        began = await asyncio.gather(*(arrive(n) for n in range(30)))
    assert sum(began) == 1


async def test_no_place_is_given_while_another_is_being_given(pool: asyncpg.Pool) -> None:
    """A later place must not be seen before an earlier one: whoever gives one holds the session's lock."""
    queue = PostgresSessionQueue(pool)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended('t' || chr(31) || 's', 7))")
        arriving = asyncio.create_task(queue.arrive_all([arrival("r1")]))
        await queue.arrive_all([arrival("o1", session_id="other")])
        await asyncio.sleep(0.2)
        assert not arriving.done()
    await arriving


async def test_an_interrupting_run_cancels_those_before_it_and_no_others(pool: asyncpg.Pool) -> None:
    queue = PostgresSessionQueue(pool)
    await queue.arrive_all([arrival("r1"), arrival("r2"), arrival("o1", session_id="other")])
    await queue.arrive_all([arrival("r3", interrupts=True), arrival("r4")])
    asked = await pool.fetch("SELECT tenant, run_id FROM cancellations ORDER BY run_id")
    assert [tuple(row) for row in asked] == [("t", "r1"), ("t", "r2")]


async def test_a_session_is_what_its_newest_run_left(pool: asyncpg.Pool) -> None:
    queue = PostgresSessionQueue(pool)
    assert await queue.state(place("r")) == SessionState()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    await pool.execute(LEFT, "r2", 2, noon, "cas://2", 4, "cas://result")
    await pool.execute(LEFT, "r1", 1, noon.replace(hour=11), "cas://1", 2, None)
    assert await queue.state(place("r")) == SessionState(turns=2, head="cas://2", stored=4, result_ref="cas://result")
    noon_ms = round(noon.timestamp() * 1000)
    assert (await queue.ended_since(place("r"), noon_ms - 1), await queue.ended_since(place("r"), noon_ms)) == (
        True,
        False,
    )


async def test_any_text_names_a_session(pool: asyncpg.Pool) -> None:
    queue = PostgresSessionQueue(pool)
    odd = Place("t\x00", "s'; DROP TABLE runs; --\x00\x1f", "r\x00")
    await queue.arrive_all([Arrival(odd, round((time() + 60) * 1000), True)])
    assert await queue.first([odd]) == {odd}
