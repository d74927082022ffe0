"""Runs without a model: one tool call, whose outcome is the result."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.messages import ids
from headrace.messages.errors import RejectedMessage
from headrace.messages.job import CallAsked
from headrace.messages.run import ToolError
from tests.reasoning.bench import Bench, ScriptedModel, answered, job, only_calls, only_result

ARGUMENTS = {"session_id": "s", "pipeline": [{"step": "top_k", "k": 1}]}
CALL = CallAsked(tool="execute_pipeline", arguments=ARGUMENTS)


def bench() -> Bench:
    """Its model must not be asked: it has no replies."""
    return Bench(ScriptedModel())


async def test_the_outcome_of_the_call_is_the_result() -> None:
    made = bench()
    calls = only_calls(await made.start(job(call=CALL)))
    [call] = calls.calls
    assert (call.tool, call.arguments, call.effect) == ("execute_pipeline", ARGUMENTS, "idempotent")
    assert call.idempotency_key == ids.call_key(calls.run.tenant, calls.run.run_id, 1, call.call_id)
    assert calls.turns == ()
    result = await made.resume(answered(calls, {"rows": [1, 2]}))
    assert (result.status, result.output, result.usage.model_calls) == ("completed", {"rows": [1, 2]}, 0)
    assert [summary.tool for summary in result.metadata.tool_calls] == ["execute_pipeline"]


async def test_an_error_of_the_tool_is_the_run_s() -> None:
    made = bench()
    calls = only_calls(await made.start(job(call=CALL)))
    results = answered(calls, None)
    error = ToolError(type="not_allowed", message="no", retryable=True, step="top_k")
    failed = results.replace(results=(results.results[0].replace(status="error", error=error),))
    result = await made.resume(failed)
    assert (result.status, result.error.type, result.error.tool) == ("failed", "not_allowed", "execute_pipeline")
    assert (result.error.retryable, result.error.step) == (True, "top_k")


async def test_what_is_in_the_blob_store_is_the_output_whole() -> None:
    made = bench()
    calls = only_calls(await made.start(job(call=CALL)))
    results = answered(calls, None)
    ref = await made.blobs.put(b'[{"n": 1}]')
    stored = results.replace(results=(results.results[0].replace(content=None, content_ref=ref),))
    assert (await made.resume(stored)).output == [{"n": 1}]


async def test_one_that_was_cancelled_before_it_began_calls_nothing() -> None:
    made = bench()
    made.tools.cancelled.add([("default", "job-1")], datetime(2026, 1, 1, tzinfo=UTC))
    result = only_result(await made.start(job(call=CALL)))
    assert (result.status, result.error and result.error.type) == ("failed", "cancelled")


async def test_other_outcomes_than_the_one_are_refused() -> None:
    made = bench()
    calls = only_calls(await made.start(job(call=CALL)))
    results = answered(calls, 1)
    with pytest.raises(RejectedMessage):
        await made.resume(results.replace(results=results.results * 2))
