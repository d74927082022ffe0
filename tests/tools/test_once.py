"""Tools that must not run twice, on a real database: crashes before, in and after the call, and what somebody says then."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from headrace.messages.errors import TransientError
from headrace.tools.api import CallParked, ToolContext, ToolFailure
from headrace.tools.intents import PostgresIntents
from headrace.tools.registry import ToolRegistry
from tests.postgres.database import empty_pool, pool
from tests.tools.helpers import CONTEXT, FakeTool

__all__ = ["empty_pool", "pool"]


class Charge:
    """Counts how often it was called; ``then`` is what happens after the effect."""

    def __init__(self) -> None:
        self.count = 0
        self.then: BaseException | None = None
        self.slow = False

    async def __call__(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        self.count += 1
        if self.slow:
            await asyncio.sleep(30)
        if self.then is not None:
            raise self.then
        return {"charged": self.count}


class Bench:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self.charge = Charge()
        tool = FakeTool("charge", self.charge, effect="once", timeout_s=0.2)
        self.registry = ToolRegistry([tool], intents=PostgresIntents(pool))

    async def call(self, **changes: Any) -> Any:
        context = CONTEXT._replace(tools=("charge",), approve_by_ms=7, **changes)
        return (await self.registry.run("charge", {}, context)).content

    async def asks(self, **changes: Any) -> None:
        with pytest.raises(CallParked) as parked:
            await self.call(**changes)
        assert (parked.value.kind, parked.value.deadline_ms) == ("intent", 7)


async def test_what_was_made_is_not_made_again(pool: asyncpg.Pool) -> None:
    bench = Bench(pool)
    assert await bench.call() == {"charged": 1}
    assert await Bench(pool).call() == {"charged": 1}, "another instance, after the record was read again"
    assert await bench.call(idempotency_key="another") == {"charged": 2}


async def test_a_failure_that_the_tool_tells_is_an_outcome(pool: asyncpg.Pool) -> None:
    bench = Bench(pool)
    bench.charge.then = ToolFailure("card_declined", "no luck", retryable=True, step="s")
    for _ in range(2):
        with pytest.raises(ToolFailure) as told:
            await bench.call()
        assert (told.value.type, str(told.value), told.value.retryable, told.value.step) == (
            "card_declined",
            "no luck",
            True,
            "s",
        )
    assert bench.charge.count == 1


@pytest.mark.parametrize("what", ["crash", "slow", "killed", "transient"])
async def test_what_may_have_been_made_is_somebody_s_to_decide(pool: asyncpg.Pool, what: str) -> None:
    bench = Bench(pool)
    if what == "slow":
        bench.charge.slow = True
        await bench.asks()
    elif what == "crash":
        bench.charge.then = KeyError("x")
        await bench.asks()
    else:
        bench.charge.then = asyncio.CancelledError() if what == "killed" else TransientError("away")
        with pytest.raises(type(bench.charge.then)):
            await bench.call()
    bench.charge.then, bench.charge.slow = None, False
    await bench.asks()
    await bench.asks(round=1, approval="given")
    await bench.asks(round=0, approval="repeat")
    assert bench.charge.count == 1
    assert await bench.call(round=1, approval="repeat") == {"charged": 2}
    assert await bench.call(round=1, approval="repeat") == {"charged": 2}, "the record of round 1 is read again"


async def test_a_repetition_that_crashes_is_asked_about_again(pool: asyncpg.Pool) -> None:
    bench = Bench(pool)
    for round_ in range(2):
        bench.charge.then = asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await bench.call(round=round_, approval="repeat" if round_ else "none")
        bench.charge.then = None
        await bench.asks(round=round_, approval="repeat" if round_ else "none")
    assert bench.charge.count == 2


async def test_of_two_who_begin_at_once_one_makes_the_call(pool: asyncpg.Pool) -> None:
    bench = Bench(pool)
    outcomes = await asyncio.gather(*(bench.call() for _ in range(8)), return_exceptions=True)
    assert bench.charge.count == 1
    assert all(outcome == {"charged": 1} or isinstance(outcome, CallParked) for outcome in outcomes)
