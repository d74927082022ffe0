"""Usage windows in Postgres: repeatable, never back, sums of their parts; and what is read from them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from headrace.analytics.book import PartWindow
from headrace.analytics.store import UsageStore
from headrace.analytics.windows import State, WindowKey
from headrace.index import UsageIndex
from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.messages.totals import Run, Totals, merged
from headrace.messages.usage import UsageWindow
from tests.persistence.conftest import empty_pool, pool

__all__ = ["empty_pool", "pool"]

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = WindowKey("default", "a", round(START.timestamp() * 1000), 60)


def part(name: str, offset: int, runs: int, window: WindowKey = KEY, **facts: object) -> PartWindow:
    run = Run(**{"failed": False, "model": "m", "cost_usd": 0.1, "duration_ms": 100} | facts)  # type: ignore[arg-type]
    return PartWindow(name, window, State(offset, merged([Totals.of(run)] * runs)))


async def announced(store: UsageStore) -> list[UsageWindow]:
    sent: list[UsageWindow] = []

    async def send(windows: Sequence[UsageWindow]) -> None:
        sent.extend(windows)

    await store.announce(send, 100)
    return sent


async def test_a_window_is_the_sum_of_its_parts_and_parts_never_go_back(pool: asyncpg.Pool) -> None:
    store = UsageStore(pool)
    await store.save([part("0/r/0", 5, 3), part("1/r/1", 9, 2)])
    await store.save([part("0/r/0", 4, 1)])
    await store.save([part("0/r/0", 5, 3)])
    (window,) = await announced(store)
    assert (window.runs, window.revision, window.cost_usd) == (5, 1, 0.5)
    assert await announced(store) == [], "nothing changed"
    await store.save([part("0/r/0", 6, 4)])
    (window,) = await announced(store)
    assert (window.runs, window.revision, window.final) == (6, 2, False)


async def test_processes_that_store_at_once_lose_nothing(pool: asyncpg.Pool) -> None:
    store = UsageStore(pool)
    windows = [KEY._replace(start_ms=KEY.start_ms + 60_000 * number) for number in range(30)]
    await store.save([part("0/r/0", 0, 1, window) for window in windows])
    for window in windows:
        await asyncio.gather(*(store.save([part(f"{number}/r/{number}", 1, 2, window)]) for number in range(4)))
    assert [window.runs for window in await announced(store)] == [8] * 30


async def test_what_could_not_be_announced_is_announced_next_time(pool: asyncpg.Pool) -> None:
    store = UsageStore(pool)
    await store.save([part("0/r/0", 1, 1)])

    async def away(_windows: Sequence[UsageWindow]) -> None:
        raise DependencyUnavailable("Kafka")

    with pytest.raises(DependencyUnavailable):
        await store.announce(away, 10)
    assert [window.runs for window in await announced(store)] == [1]


async def test_final_when_every_part_that_gets_on_is_past_it(pool: asyncpg.Pool) -> None:
    store = UsageStore(pool)
    await store.save([part("0/r/0", 1, 1)])
    end = KEY.end_ms

    async def finalised(*, idle: timedelta = timedelta(hours=1)) -> bool:
        await store.finalise(grace=timedelta(seconds=1), idle=idle)
        return bool(await pool.fetchval("SELECT final FROM usage_windows"))

    await store.progress({"0/r/0": end, "1/r/1": end - 1})
    assert not await finalised()
    await store.progress({"0/r/0": end - 50, "1/r/1": end})
    assert await finalised()
    await store.save([part("0/r/0", 2, 2)])
    assert not await pool.fetchval("SELECT final FROM usage_windows"), "a correction"
    await pool.execute("UPDATE usage_progress SET closed_ms = 0")
    assert not await finalised()
    assert await finalised(idle=timedelta(0)), "none of them gets on any more"


async def test_usage_is_added_up_by_agent_and_window(pool: asyncpg.Pool) -> None:
    store, index = UsageStore(pool), UsageIndex(pool)
    later = KEY._replace(start_ms=KEY.start_ms + 3_600_000)
    other = KEY._replace(agent="b", tenant="acme")
    slow = part("0/r/0", 2, 1, later, duration_ms=60_000, failed=True, model="n", input_tokens=7)
    await store.save([part("0/r/0", 1, 99), slow, part("0/r/0", 3, 5, other)])
    now = START + timedelta(hours=3)
    (row,) = (await index.usage("default", since="24h", now=now)).usage
    assert (row.runs, row.failed, row.error_rate, row.input_tokens, row.cost_usd) == (100, 1, 0.01, 7, 10.0)
    assert [(model.model, model.runs) for model in row.models] == [("m", 99), ("n", 1)]
    assert row.latency_p99_ms == pytest.approx(100, rel=0.02)
    assert row.latency_max_ms == 60_000
    hours = (await index.usage("default", since=START.isoformat(), window="1h", now=now)).usage
    assert [(hour.window_start, hour.runs) for hour in hours] == [(START + timedelta(hours=1), 1), (START, 99)]
    assert (await index.usage("default", agent="b", now=now)).usage == ()
    assert [one.runs for one in (await index.usage("acme", now=now)).usage] == [5]


@pytest.mark.parametrize("question", [{"since": "yesterday"}, {"since": "0h"}, {"window": "1w"}, {"window": "9999d"}])
async def test_a_span_that_is_none_is_refused(pool: asyncpg.Pool, question: dict[str, str]) -> None:
    with pytest.raises(BadMessage):
        await UsageIndex(pool).usage("default", **question)
