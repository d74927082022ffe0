"""What is written of each record, and what happens to one that can't be."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.index import RunIndex
from headrace.messages.agent import AgentRecord
from headrace.messages.errors import BadMessage, FatalError
from headrace.messages.ids import content_ref, result_id
from headrace.messages.result import ResultMetadata, ToolCallSummary
from headrace.messages.run import Usage
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from tests.persistence.records import MODEL, STARTED, a_job, a_result, a_run, an_event, context


class Persistence:
    """A processor with its store, and the row of a result."""

    def __init__(self, pool: asyncpg.Pool, **settings: Any) -> None:
        self.pool = pool
        self.blobs = MemoryBlobs()
        self.processor = PersistenceProcessor(pool, self.blobs, PersistenceSettings(_env_file=None, **settings))
        self.index = RunIndex(pool, self.blobs)

    async def result(self, job_id: str, offset: int = 0, **fields: Any) -> asyncpg.Record:
        await self.processor.handle(a_result(job_id, **fields), context("agent.results", offset))
        row = await self.pool.fetchrow("SELECT * FROM agent_results WHERE job_id = $1", job_id)
        assert row is not None
        return row


@pytest.fixture
def persistence(pool: asyncpg.Pool) -> Persistence:
    return Persistence(pool)


async def test_a_run_from_job_to_result(persistence: Persistence) -> None:
    seen = []
    for record in a_run("run-1", turns=1):
        await persistence.processor.handle(*record)
        run = await persistence.index.run("default", "run-1")
        seen.append((run.state, run.agent_version, run.input_tokens) if run else None)
    assert seen == [
        None,
        ("pending", None, 0),
        ("running", "1.2.0", 100),
        ("running", "1.2.0", 100),
        ("completed", "1.2.0", 100),
    ]


async def test_a_result_without_its_job_is_a_whole_run(persistence: Persistence) -> None:
    await persistence.result("test-job-123")
    run = await persistence.index.run("default", "test-job-123")
    assert run
    assert (run.state, run.latency_ms, run.outcome) == ("completed", 900, {"risk": "low"})
    assert int(run.created_at.timestamp() * 1000) == STARTED


async def test_the_protocols_columns(persistence: Persistence) -> None:
    row = await persistence.result(
        "test-job-123",
        run_id="wf-7",
        node_id="n-7",
        metadata=ResultMetadata(
            tool_calls=(ToolCallSummary(tool="t", args={"k": 3}),),
            tokens_used=1523,
            cache_hit=True,
            execution_time_ms=1247,
            llm_model=MODEL,
        ),
    )
    assert str(row["result_id"]) == result_id("default", "test-job-123")
    assert (row["run_id"], row["node_id"], row["status"]) == ("wf-7", "n-7", "completed")
    assert (row["tokens_used"], row["cache_hit"], row["execution_time_ms"]) == (1523, True, 1247)
    assert (row["result_data"], row["cas_id"], row["s3_ref"]) == ({"risk": "low"}, None, None)
    assert row["tool_calls"] == [{"tool": "t", "args": {"k": 3}}]


async def test_a_result_of_12_mb_becomes_a_blob(persistence: Persistence) -> None:
    output = {"text": "x" * 12_000_000}
    row = await persistence.result("big", output=output)
    assert row["result_data"] is None
    assert "cas://" + row["cas_id"] == content_ref(orjson.dumps(output))
    stored = await persistence.index.result("default", f"artifact://{row['result_id']}")
    assert stored
    assert stored.data == output
    run = await persistence.index.run("default", "big")
    assert run
    assert len(orjson.dumps(run.outcome)) < 4_000


@pytest.mark.parametrize(("size", "inline"), [(9_000_000, True), (10 * 1024 * 1024, False)])
async def test_a_referenced_output_is_taken_in_below_10_mb(persistence: Persistence, size: int, inline: bool) -> None:
    data = orjson.dumps("x" * (size - 2))
    ref = await persistence.blobs.put(data)
    row = await persistence.result("ref", output=None, output_ref=ref)
    assert (row["result_data"] is not None) == inline
    assert row["cas_id"] == (None if inline else ref.removeprefix("cas://"))
    stored = await persistence.index.result("default", f"artifact://{row['result_id']}")
    assert stored
    assert len(stored.data) == size - 2


@pytest.mark.parametrize("held", [b"not json", None])
async def test_a_referenced_output_that_can_not_be_taken_in_stays_a_reference(
    persistence: Persistence, held: bytes | None
) -> None:
    ref = content_ref(b"gone") if held is None else await persistence.blobs.put(held)
    row = await persistence.result("ref", output=None, output_ref=ref)
    assert (row["result_data"], row["cas_id"]) == (None, ref.removeprefix("cas://"))


async def test_nul_survives_in_results_and_is_a_symbol_elsewhere(persistence: Persistence) -> None:
    output = {"a\x00": "b\x00c"}
    await persistence.processor.handle(
        a_job("nul\x00id", prompt="p\x00q", user_id="\x00"), context("agent.jobs", 0, at=STARTED - 1)
    )
    await persistence.processor.handle(an_event(1, data={"k\x00": "\x00"}), context("ingest.events", 1))
    await persistence.processor.handle(a_result("nul\x00id", output=output), context("agent.results", 0))
    stored = await persistence.index.result("default", "artifact://" + result_id("default", "nul\x00id"))
    assert stored
    assert stored.data == output
    run = await persistence.index.run("default", "nul\x00id")
    assert run
    assert (run.run_id, run.user_id, run.input_preview) == ("nul\u2400id", "\u2400", {"prompt": "p\u2400q"})
    [event] = (await persistence.index.events("default")).events
    assert event.data_preview == {"k\u2400": "\u2400"}


async def test_a_failed_run_has_its_error_and_no_data(persistence: Persistence) -> None:
    *_, (result, place) = a_run("failed", fails=True)
    await persistence.processor.handle(result, place)
    row = await persistence.pool.fetchrow("SELECT result_data, cas_id, error, status FROM agent_results")
    assert row is not None
    assert (row["result_data"], row["cas_id"], row["status"]) == (None, None, "failed")
    assert row["error"]["type"] == "limit_tokens"


async def test_an_answer_of_null_is_an_answer(persistence: Persistence) -> None:
    await persistence.result("null", output=None)
    assert await persistence.pool.fetchval("SELECT result_data::text FROM agent_results") == "null"


POISON: dict[str, dict[str, Any]] = {
    "a number too large": {"usage": Usage(input_tokens=2**63)},
    "an id too long for its index": {"job_id": "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(3_000))},
    "a lone surrogate": {"user_id": "\ud800"},
    "a lone surrogate in json": {"output": "\ud800"},
    "steps beyond 32 bits": {"steps": 2**31},
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_a_poison_record_fails_alone(persistence: Persistence, poison: dict[str, Any]) -> None:
    results = [a_result(f"run-{number}") for number in range(9)]
    results[4] = results[4].replace(**poison)
    answers = await asyncio.gather(
        *(
            persistence.processor.handle(result, context("agent.results", offset))
            for offset, result in enumerate(results)
        ),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [tuple] * 4 + [BadMessage] + [tuple] * 4
    assert "\ud800" not in str(answers[4])
    assert await persistence.pool.fetchval("SELECT count(*) FROM agent_results") == 8
    assert await persistence.pool.fetchval("SELECT count(*) FROM runs") == 8


async def test_a_batch_answers_each_record_for_itself(pool: asyncpg.Pool) -> None:
    persistence = Persistence(pool, inline_result_bytes=100)
    results = [a_result("small"), a_result("poison", steps=2**31), a_result("blob", output="x" * 200), a_result("last")]
    answers = await persistence.processor.handle_all(
        [(result, context("agent.results", offset)) for offset, result in enumerate(results)]
    )
    assert [type(answer) for answer in answers] == [tuple, BadMessage, tuple, tuple]
    rows = await pool.fetch("SELECT job_id, cas_id IS NULL AS inline FROM agent_results ORDER BY job_id")
    assert [tuple(row) for row in rows] == [("blob", False), ("last", True), ("small", True)]


async def test_a_message_of_another_topic_is_a_fault_of_the_wiring(persistence: Persistence) -> None:
    with pytest.raises(FatalError):
        await persistence.processor.handle(AgentRecord(name="x", live_version="1.0.0"), context("agent.definitions", 0))


async def test_nonsense_times_are_not_known(persistence: Persistence) -> None:
    row = await persistence.result("odd", started_ms=2**62, completed_ms=-5, completed_at="yesterday")
    assert row["completed_at"] is None
    run = await persistence.index.run("default", "odd")
    assert run
    assert run.started_at is None


async def test_the_same_job_id_in_two_tenants_is_two_runs(persistence: Persistence) -> None:
    for tenant in ("a", "b"):
        result = a_result("same", tenant=tenant, output=tenant)
        await persistence.processor.handle(result, context("agent.results", ord(tenant)))
    for tenant in ("a", "b"):
        stored = await persistence.index.result(tenant, f"artifact://{result_id(tenant, 'same')}")
        assert stored
        assert stored.data == tenant
    assert await persistence.index.result("a", f"artifact://{result_id('b', 'same')}") is None
