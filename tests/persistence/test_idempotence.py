"""Any order, any grouping into batches, any repetition of a run's records gives the same tables, byte for byte."""

from __future__ import annotations

import asyncio
from itertools import permutations

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.blobs.memory import MemoryBlobs
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from tests.persistence.records import Record, a_job, a_run, context
from tests.persistence.tables import clear, dump

RECORDS = [
    *a_run("run-1", turns=2),
    *a_run("run-2", turns=1, fails=True, first_offset=100),
    *a_run("run-3", turns=0, first_offset=200),
    (a_job("run-4", prompt="the first"), context("agent.jobs", 300)),
    (a_job("run-4", prompt="a later one under the same id"), context("agent.jobs", 301, at=1_790_000_000_001)),
]


async def persist(pool: asyncpg.Pool, records: list[Record], *, batch: int, together: int) -> None:
    """``together`` records are in flight at a time, ``batch`` in one transaction."""
    processor = PersistenceProcessor(pool, MemoryBlobs(), PersistenceSettings(_env_file=None, batch_records=batch))
    for start in range(0, len(records), together):
        await asyncio.gather(*(processor.handle(*record) for record in records[start : start + together]))


@pytest.fixture
async def in_order(pool: asyncpg.Pool) -> dict[str, list[str]]:
    """The tables after each record once, one at a time, in the order of the flow."""
    await persist(pool, RECORDS, batch=1, together=1)
    return await dump(pool)


orders = st.tuples(st.permutations(RECORDS), st.lists(st.sampled_from(RECORDS), max_size=12))


@given(order=orders, batch=st.integers(1, 30), together=st.integers(1, 30))
@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a shorter shuffle says no more, and each try is a database
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_any_order_and_repetition(
    pool: asyncpg.Pool,
    in_order: dict[str, list[str]],
    order: tuple[list[Record], list[Record]],
    batch: int,
    together: int,
) -> None:
    await clear(pool)
    shuffled, repeated = order
    await persist(pool, [*shuffled, *repeated], batch=batch, together=together)
    assert await dump(pool) == in_order


async def test_reading_everything_again_changes_nothing(pool: asyncpg.Pool) -> None:
    await persist(pool, RECORDS, batch=100, together=100)
    once = await dump(pool)
    assert {name: len(rows) for name, rows in once.items()} == {
        "runs": 4,
        "run_steps": 7 + 4 + 2 + 2,
        "agent_results": 3,
        "events": 3,
        "session_runs": 3,
    }
    await persist(pool, RECORDS, batch=7, together=3)
    assert await dump(pool) == once


@pytest.mark.parametrize("together", [1, 3])
async def test_state_only_moves_forward(pool: asyncpg.Pool, together: int) -> None:
    records = a_run("run-1", turns=1)[1:]
    job, calls, _, result = records
    rank = {id(job): "pending", id(calls): "running", id(result): "completed"}
    for order in permutations((job, calls, result)):
        await clear(pool)
        await persist(pool, list(order), batch=10, together=together)
        assert await pool.fetchval("SELECT state FROM runs") == "completed"
        await clear(pool)
        await persist(pool, list(order[:1]), batch=1, together=1)
        assert await pool.fetchval("SELECT state FROM runs") == rank[id(order[0])]


async def test_two_replicas_on_the_same_runs_do_not_deadlock(pool: asyncpg.Pool) -> None:
    """Both write all runs in one transaction, in opposite orders."""
    many = [record for number in range(200) for record in a_run(f"run-{number}", turns=0, first_offset=number * 10)]
    for _ in range(5):
        await asyncio.gather(
            persist(pool, many, batch=1_000, together=1_000), persist(pool, many[::-1], batch=1_000, together=1_000)
        )
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE state = 'completed'") == 200
