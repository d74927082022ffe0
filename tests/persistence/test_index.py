"""The read side: pages, filters, tenants, references."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.index import RunIndex
from headrace.messages.errors import BadMessage
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from tests.persistence.records import STARTED, a_job, a_result, a_run, an_event, context


@pytest.fixture
async def index(pool: asyncpg.Pool) -> RunIndex:
    """25 runs of two agents, three to a millisecond; run-3 has ended; one run of another tenant."""
    processor = PersistenceProcessor(pool, MemoryBlobs(), PersistenceSettings(_env_file=None))
    jobs = [
        (a_job(f"run-{n}", agent="odd" if n % 2 else "even"), context("agent.jobs", n, at=STARTED + n // 3))
        for n in range(25)
    ]
    await asyncio.gather(
        *(processor.handle(*job) for job in jobs),
        processor.handle(a_job("foreign", tenant="other"), context("agent.jobs", 99)),
        processor.handle(a_result("run-3", started_ms=STARTED + 1), context("agent.results", 1)),
        *(processor.handle(an_event(n), context("ingest.events", n)) for n in range(5)),
    )
    return RunIndex(pool, MemoryBlobs())


async def all_runs(index: RunIndex, limit: int, **filters: str) -> list[str]:
    ids: list[str] = []
    cursor = None
    for _ in range(50):
        page = await index.runs("default", limit=limit, cursor=cursor, **filters)
        assert len(page.runs) <= limit
        ids += [run.run_id for run in page.runs]
        if page.cursor is None:
            return ids
        cursor = page.cursor
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("limit", [1, 4, 24, 25, 26, 500])
async def test_pages_give_each_run_once_newest_first(index: RunIndex, limit: int) -> None:
    ids = await all_runs(index, limit)
    assert ids == sorted(ids, key=lambda name: (int(name[4:]) // 3, name), reverse=True)
    assert len(ids) == len(set(ids)) == 25


async def test_filters(index: RunIndex) -> None:
    assert len(await all_runs(index, 5, agent="odd")) == 12
    assert await all_runs(index, 5, state="completed") == ["run-3"]
    assert await all_runs(index, 5, state="completed", agent="even") == []
    assert len(await all_runs(index, 5, session_id="s-1")) == 25
    assert await all_runs(index, 5, event_type="none'; --") == []


async def test_new_runs_do_not_shift_a_page(index: RunIndex, pool: asyncpg.Pool) -> None:
    page = await index.runs("default", limit=10)
    processor = PersistenceProcessor(pool, MemoryBlobs(), PersistenceSettings(_env_file=None))
    await processor.handle(a_job("newest"), context("agent.jobs", 1_000, at=STARTED + 1_000))
    following = await index.runs("default", limit=10, cursor=page.cursor)
    assert not {run.run_id for run in page.runs} & {run.run_id for run in following.runs}
    assert "newest" not in {run.run_id for run in following.runs}


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!!", "W10", "WzEsMl0", "bnVsbA", "é", "Wzk5OTk5OTk5OTk5OTk5OTk5OTksIngiXQ"]
)
async def test_a_strange_cursor_is_refused(index: RunIndex, cursor: str) -> None:
    with pytest.raises(BadMessage) as caught:
        await index.runs("default", cursor=cursor)
    assert caught.value.cause == "cursor"


async def test_tenants_are_apart(index: RunIndex) -> None:
    assert await index.run("other", "run-1") is None
    assert await index.steps("other", "run-1") == ()
    assert [run.run_id for run in (await index.runs("other")).runs] == ["foreign"]


async def test_the_records_of_a_run_are_in_the_order_of_the_flow(pool: asyncpg.Pool) -> None:
    processor = PersistenceProcessor(pool, MemoryBlobs(), PersistenceSettings(_env_file=None))
    for record in reversed(a_run("run-x", turns=2)):
        await processor.handle(*record)
    run = await RunIndex(pool).run("default", "run-x")
    assert run
    places = [(step.kind, step.step, step.topic) for step in run.records]
    assert places == [
        ("job", 0, "agent.jobs"),
        ("tool_calls", 0, "tool.calls"),
        ("tool_results", 0, "tool.results"),
        ("tool_calls", 1, "tool.calls"),
        ("wait", 1, "run.waits"),
        ("tool_results", 1, "tool.results"),
        ("result", 2, "agent.results"),
    ]
    calls = run.records[1].summary
    assert calls["calls"] == [{"call_id": "c0", "tool": "execute_pipeline", "effect": "none"}]
    assert (calls["input_tokens"], calls["model_calls"]) == (100, 1)
    assert (run.tool_calls, run.input_tokens, run.steps) == (2, 200, 2)


async def test_events_page(index: RunIndex) -> None:
    first = await index.events("default", limit=3)
    second = await index.events("default", limit=3, cursor=first.cursor)
    assert (len(first.events), len(second.events), second.cursor) == (3, 2, None)
    assert len({event.uid for event in (*first.events, *second.events)}) == 5


async def test_references(index: RunIndex) -> None:
    assert await index.result("default", "artifact://00000000-0000-0000-0000-000000000000") is None
    for ref in ("artifact://x", "cas://sha256:x", "", "file:///etc/passwd"):
        with pytest.raises(BadMessage):
            await index.result("default", ref)


async def test_counts(index: RunIndex) -> None:
    assert (await index.counts()).runs == {"pending": 25, "completed": 1}
