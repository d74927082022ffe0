"""What came of a call elsewhere, as its outcome: a sub-agent's result, or what somebody reported."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from headrace.blobs import BlobStore
from headrace.blobs.preview import preview
from headrace.blobs.tenants import TenantBlobs
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
    """Small outputs inline, large ones as a reference that the tenant of the run may name.

    Raises ``DependencyUnavailable`` while blobs are away.
    """
    own = TenantBlobs(blobs, result.tenant)
    duration = max(0, result.completed_ms - result.started_ms)
    if result.status == "failed":
        return Answer(None, None, None, _failure(result), duration)
    if result.output_ref is not None:
        if await own.may_name(result.output_ref):
            return Answer(None, result.output_ref, result.result_preview, None, duration)
        return Answer(None, None, None, _failed(f"the answer of the agent {result.agent_name} is not there"), duration)
    whole = {"agent": result.agent_name, "run_id": result.job_id, "output": result.output}
    data = orjson.dumps(whole)
    if len(data) <= inline_bytes:
        return Answer(whole, None, None, None, duration)
    return Answer(None, await own.put(data), result.result_preview, None, duration)


async def reported_answer(reported: Reported, tenant: str, blobs: BlobStore, inline_bytes: int) -> Answer:
    """As ``answer_of``."""
    if reported.error is not None:
        return Answer(None, None, None, reported.error, 0)
    data = orjson.dumps(reported.content)
    if len(data) <= inline_bytes:
        return Answer(reported.content, None, None, None, 0)
    ref = await TenantBlobs(blobs, tenant).put(data)
    return Answer(None, ref, preview(reported.content, inline_bytes // 2), None, 0)


def _failure(result: AgentResult) -> ToolError:
    cause = result.error.type if result.error else "unknown"
    text = result.error.message if result.error else ""
    retryable = bool(result.error and result.error.retryable)
    return _failed(f"the agent {result.agent_name} failed ({cause}): {text}", retryable=retryable)


def _failed(message: str, *, retryable: bool = False) -> ToolError:
    return ToolError(type="agent_failed", message=message[:_MAX_MESSAGE], retryable=retryable)
