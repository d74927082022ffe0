"""Runs without a model: a job that names one tool call (``Job.call``) is that call, and its outcome is the result.

Such a run passes the same records as any other, so allow-list, effects, deadlines, index and audit hold for it as they are. Its
agent says what it may call. No model is asked, and nothing is remembered of a conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.blobs import BlobStore
from headrace.messages import strict_json
from headrace.messages.agent import Limits
from headrace.messages.errors import RejectedMessage
from headrace.messages.job import CallAsked
from headrace.messages.result import AgentResult, ResultError, ToolCallSummary
from headrace.messages.run import CallRequest, Progress, RunInfo, ToolCalls, ToolOutcome, ToolResults, Transcript
from headrace.reasoning.calls import calls_record
from headrace.reasoning.limits import CANCELLED
from headrace.reasoning.machine import EmitResult, Phase, State
from headrace.reasoning.results import result_record
from headrace.toolspecs import Spec

CALL_ID: Final = "call_1_1"


def call_of(run: RunInfo, asked: CallAsked, specs: Mapping[str, Spec]) -> ToolCalls:
    """The record that asks for the call."""
    request = CallRequest(id=CALL_ID, name=asked.tool, arguments=asked.arguments)
    return calls_record(run.replace(direct=True), Progress(step=1), Transcript(), (), (request,), specs)


async def cancelled(run: RunInfo, now_ms: int, blobs: BlobStore) -> AgentResult:
    """The result of a run that was cancelled before its call, or while that waited."""
    state = State(Phase.DONE, run, Limits())
    return await result_record(state, Transcript(), EmitResult(now_ms, error=CANCELLED), (), blobs)


async def result_of(message: ToolResults, now_ms: int, blobs: BlobStore) -> AgentResult:
    """The outcome of the call as the result of the run. Raises ``RejectedMessage`` for another number of outcomes."""
    if message.cancelled:
        return await cancelled(message.run, now_ms, blobs)
    if len(message.results) != 1:
        raise RejectedMessage("a direct run has one call", cause="tool_results_mismatch", where="/results")
    [outcome] = message.results
    state = State(Phase.DONE, message.run, Limits(), message.progress)
    summary = ToolCallSummary(tool=outcome.tool, args={})
    return await result_record(state, message.transcript, await _end(outcome, now_ms, blobs), (summary,), blobs)


async def _end(outcome: ToolOutcome, now_ms: int, blobs: BlobStore) -> EmitResult:
    if outcome.status == "error":
        error = outcome.error
        if error is None:
            return EmitResult(now_ms, error=ResultError(type="tool_error", message="the tool failed"))
        told = ResultError(
            type=error.type, message=error.message, retryable=error.retryable, tool=outcome.tool, step=error.step
        )
        return EmitResult(now_ms, error=told)
    if outcome.content_ref is None:
        return EmitResult(now_ms, output=outcome.content)
    return EmitResult(now_ms, output=strict_json.loads(await blobs.get(outcome.content_ref)))
