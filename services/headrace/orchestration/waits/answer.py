"""What came of a call elsewhere, as its outcome: a sub-agent's result, or what somebody reported."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from headrace.blobs import BlobStore
from headrace.blobs.preview import preview
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCall, ToolError, ToolOutcome
from headrace.messages.wait import Reported

_MAX_MESSAGE = 1_000


class Answer(NamedTuple):
    """The parts of an outcome that do not depend on the call."""

    content: Any
    content_ref: str | None
    preview: Any
    error: ToolError | None
    duration_ms: int

    def to(self, call: ToolCall) -> ToolOutcome:
        return ToolOutcome(
            call_id=call.call_id,
            tool=call.tool,
            tool_version=call.tool_version,
            status="error" if self.error else "ok",
            content=self.content,
            content_ref=self.content_ref,
            preview=self.preview,
            error=self.error,
            duration_ms=self.duration_ms,
        )


async def answer_of(result: AgentResult, blobs: BlobStore, inline_bytes: int) -> Answer:
    """Small outputs inline, large ones as a reference. Raises ``DependencyUnavailable`` while blobs are away."""
    duration = max(0, result.completed_ms - result.started_ms)
    if result.status == "failed":
        cause = result.error.type if result.error else "unknown"
        text = result.error.message if result.error else ""
        message = f"the agent {result.agent_name} failed ({cause}): {text}"[:_MAX_MESSAGE]
        retryable = bool(result.error and result.error.retryable)
        return Answer(None, None, None, ToolError(type="agent_failed", message=message, retryable=retryable), duration)
    whole = {"agent": result.agent_name, "run_id": result.job_id, "output": result.output}
    if result.output_ref is not None:
        return Answer(None, result.output_ref, result.result_preview, None, duration)
    data = orjson.dumps(whole)
    if len(data) <= inline_bytes:
        return Answer(whole, None, None, None, duration)
    return Answer(None, await blobs.put(data), result.result_preview, None, duration)


async def reported_answer(reported: Reported, blobs: BlobStore, inline_bytes: int) -> Answer:
    """As ``answer_of``."""
    if reported.error is not None:
        return Answer(None, None, None, reported.error, 0)
    data = orjson.dumps(reported.content)
    if len(data) <= inline_bytes:
        return Answer(reported.content, None, None, None, 0)
    return Answer(None, await blobs.put(data), preview(reported.content, inline_bytes // 2), None, 0)
