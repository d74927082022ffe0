"""``agent.results``: the protocol's fields, and a bound on every one of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from headrace.blobs.tenants import TenantBlobs
from headrace.messages import ids
from headrace.messages.agent import Limits
from headrace.messages.job import JobContext
from headrace.messages.run import CallRequest, Entry, ToolError
from headrace.reasoning.results import ARTIFACT_LIMIT, INLINE_OUTPUT, SUMMARY_BYTES, preview, summaries
from tests.reasoning.bench import (
    T0,
    Bench,
    ScriptedModel,
    answered,
    calls_reply,
    definition,
    job,
    only_calls,
    only_result,
    text_reply,
)


async def test_every_field_of_the_protocol_is_filled() -> None:
    bench = Bench(ScriptedModel(calls_reply({"session_id": "s", "pipeline": []}), text_reply("Fine.")))
    a_job = job(run_id="wf-1", node_id="n1", context=JobContext(session_id="s1"), tenant="acme", replay_id="again")
    calls = only_calls(await bench.start(a_job))
    bench.clock_ms = T0 + 1_247
    result = await bench.resume(answered(calls, {"rows": 3}))
    agent = definition()
    assert (result.job_id, result.run_id, result.node_id, result.status) == ("job-1", "wf-1", "n1", "completed")
    assert result.result_ref == f"artifact://{ids.result_id('acme', 'job-1')}"
    assert result.result_preview == {"type": "text", "length": 5, "sample": "Fine."}
    assert result.output == "Fine."
    assert [call.plain() for call in result.metadata.tool_calls] == [
        {"tool": "execute_pipeline", "args": {"session_id": "s", "pipeline": []}}
    ]
    assert result.metadata.tokens_used == 220
    assert result.metadata.execution_time_ms == 1_247
    assert result.metadata.llm_model == "openai:sim-1"
    assert result.metadata.cache_hit is False
    assert result.completed_at == "2027-01-15T08:00:01.247Z"
    assert (result.started_ms, result.completed_ms, result.steps) == (T0, T0 + 1_247, 2)
    assert (result.tenant, result.user_id, result.session_id, result.replay_id) == ("acme", "ada", "s1", "again")
    assert (result.agent_name, result.agent_version) == ("reviewer", "1.0.0")
    assert (result.definition_hash, result.prompt_hash) == (agent.definition_hash, agent.prompt_hash)
    assert [turn.text for turn in result.turns] == ["Fine."], "the model calls since the last record"
    assert result.usage.cost_usd == pytest.approx(0.002)


async def test_a_cached_prefix_is_a_cache_hit() -> None:
    reply = text_reply("ok")
    cached = text_reply("ok", usage=reply.usage.replace(cache_read_tokens=64))
    assert only_result(await Bench(ScriptedModel(cached)).start()).metadata.cache_hit is True


async def test_a_tool_call_that_was_answered_from_a_cache_is_a_cache_hit() -> None:
    bench = Bench(ScriptedModel(calls_reply({"a": 1}), text_reply("ok")))
    calls = only_calls(await bench.start())
    progress = calls.progress.replace(cache_hits=1)
    assert (await bench.resume(answered(calls, 1, progress=progress))).metadata.cache_hit is True


@pytest.mark.parametrize(
    ("size", "inline", "artifact"),
    [(INLINE_OUTPUT - 2, True, True), (INLINE_OUTPUT, False, True), (ARTIFACT_LIMIT, False, False)],
)
async def test_a_large_output_is_a_reference_and_a_huge_one_is_its_own_artifact(
    size: int, inline: bool, artifact: bool
) -> None:
    bench = Bench(ScriptedModel(text_reply("x" * size)))
    result = only_result(await bench.start())
    assert (result.output is not None) is inline
    assert (result.output_ref is None) is inline
    assert result.result_ref is not None
    assert result.result_ref.startswith("artifact://" if artifact else "cas://")
    if not inline:
        assert result.output_ref is not None
        assert orjson.loads(await TenantBlobs(bench.blobs, result.tenant).get(result.output_ref)) == "x" * size
    if not artifact:
        assert result.result_ref == result.output_ref


async def test_a_failed_run_has_an_error_and_no_result() -> None:
    result = only_result(await Bench(ScriptedModel(text_reply(""), text_reply(""))).start())
    assert result.status == "failed"
    assert result.error is not None
    assert (result.result_ref, result.output, result.result_preview) == (None, None, None)


@pytest.mark.parametrize(
    "output", [["x" * 10_000] * 10_000, {"k" * 500: {"deep": ["x"] * 999}, "t": "x" * 99_999}, "x" * 10**6, 7, None]
)
def test_a_preview_is_small_whatever_the_output_is(output: Any) -> None:
    assert len(orjson.dumps(preview(output))) < 3_000


def test_a_dataset_is_previewed_as_the_protocol_does() -> None:
    rows = [{"airline": "Delta", "price": 299}] * 5
    assert preview(rows) == {"type": "dataset", "row_count": 5, "sample": rows[:3]}


def test_listed_tool_calls_are_bounded_and_say_what_is_missing() -> None:
    entries = [
        Entry(role="assistant", tool_calls=(CallRequest(id="c", name="t", arguments={"q": "x" * 900}),))
        for _ in range(100)
    ]
    listed = summaries(entries)
    assert len(orjson.dumps([item.args for item in listed])) < SUMMARY_BYTES + 1_000
    assert listed[-1].tool == "..."
    assert listed[-1].args == {"omitted_calls": 100 - (len(listed) - 1)}


def test_large_arguments_are_listed_by_reference_or_size() -> None:
    ref = ids.content_ref(b"{}")
    calls = (
        CallRequest(id="1", name="t", arguments={}, arguments_ref=ref),
        CallRequest(id="2", name="t", arguments={"q": "x" * 2_000}),
    )
    listed = summaries([Entry(role="assistant", tool_calls=calls)])
    assert [item.args for item in listed] == [{"arguments_ref": ref}, {"arguments_bytes": 2_008}]


async def test_a_run_that_is_used_up_names_the_tool_that_failed_last() -> None:
    bench = Bench(
        ScriptedModel(calls_reply({"session_id": "s", "pipeline": []})),
        definition(limits=Limits(max_steps=2, timeout_s=60)),
    )
    given = answered(only_calls(await bench.start()), None)
    error = ToolError(type="http_error", message="no answer", retryable=True, step="http_request")
    failed = given.replace(results=(given.results[0].replace(status="error", content=None, error=error),))
    bench.clock_ms = T0 + 61_000
    late = await bench.resume(failed)
    assert (late.error.type, late.error.tool, late.error.step) == ("timeout", "execute_pipeline", "http_request")
    late = await bench.resume(given)
    assert (late.error.type, late.error.tool, late.error.step) == ("timeout", None, None), "the tool did what it should"
