"""``agent.results`` records: protocol v1.0 field for field, and bounded however long the run was. Pure but for one
blob.

Output up to ``INLINE_OUTPUT`` travels in the record; past it, as ``output_ref``. From ``ARTIFACT_LIMIT`` on,
``result_ref`` is that blob too (section 3.2 of the protocol); below, it is ``artifact://<result id>``, which the API
resolves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from headrace.blobs import BlobStore
from headrace.blobs.tenants import TenantBlobs
from headrace.messages import ids
from headrace.messages.canonical import canonical_json
from headrace.messages.result import AgentResult, ResultMetadata, SessionTurn, ToolCallSummary
from headrace.messages.run import CallRequest, Entry, RunInfo, Transcript
from headrace.reasoning.entries import canonical
from headrace.reasoning.machine import EmitResult, State

INLINE_OUTPUT: Final = 256 * 1024
ARTIFACT_LIMIT: Final = 10 * 1024 * 1024
SUMMARY_BYTES: Final = 16_384  # all listed tool calls together
ARGUMENT_BYTES: Final = 1_024  # arguments of one listed tool call
_SAMPLE: Final = 3
_TEXT: Final = 280
_FIELDS: Final = 8


async def result_record(
    state: State,
    transcript: Transcript,
    end: EmitResult,
    calls: Sequence[ToolCallSummary],
    blobs: BlobStore,
    session: SessionTurn | None = None,
) -> AgentResult:
    """The record that ends a run."""
    run, progress = state.run, state.progress
    output = {} if end.error else await _output(run, end.output, blobs)
    return AgentResult(
        job_id=run.run_id,
        status="failed" if end.error else "completed",
        metadata=ResultMetadata(
            tool_calls=tuple(calls),
            tokens_used=progress.usage.total_tokens,
            cache_hit=progress.usage.cache_read_tokens > 0 or progress.cache_hits > 0,
            execution_time_ms=max(0, end.completed_ms - run.started_ms),
            llm_model=state.turns[-1].model if state.turns else run.model,
        ),
        error=end.error,
        completed_at=rfc3339(end.completed_ms),
        **_identity(run),
        turns=state.turns,
        transcript_ref=transcript.head,
        steps=progress.step,
        started_ms=run.started_ms,
        completed_ms=end.completed_ms,
        usage=progress.usage,
        parent_run_id=run.family.parent_run_id if run.family else None,
        delegated=progress.delegated,
        descendants=progress.children,
        session=session,
        **output,
    )


def summaries(entries: Sequence[Entry]) -> list[ToolCallSummary]:
    """The tool calls of a conversation, in order; the last item says how many did not fit."""
    requests = [request for entry in entries for request in entry.tool_calls]
    listed: list[ToolCallSummary] = []
    room = SUMMARY_BYTES
    for request in requests:
        summary = _summary(request)
        room -= len(summary.tool) + len(canonical(summary.args))
        if room < 0:
            omitted = {"omitted_calls": len(requests) - len(listed)}
            return [*listed, ToolCallSummary(tool="...", args=omitted)]
        listed.append(summary)
    return listed


def preview(output: Any) -> dict[str, Any]:
    """A small view of an output: its kind, its size, and a sample that is bounded whatever the output is."""
    if isinstance(output, list):
        return {"type": "dataset", "row_count": len(output), "sample": [_sample(row) for row in output[:_SAMPLE]]}
    if isinstance(output, dict):
        return {"type": "object", "field_count": len(output), "sample": _sample(output)}
    if isinstance(output, str):
        return {"type": "text", "length": len(output), "sample": output[:_TEXT]}
    return {"type": "value", "sample": output}


def rfc3339(ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(64)  # results come many to a second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


async def _output(run: RunInfo, output: Any, blobs: BlobStore) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "result_ref": f"artifact://{ids.result_id(run.tenant, run.run_id)}",
        "result_preview": preview(output),
    }
    data = canonical_json(output)
    if len(data) <= INLINE_OUTPUT:
        return {**fields, "output": output}
    ref = await TenantBlobs(blobs, run.tenant).put(data)
    return {**fields, "output_ref": ref, **({"result_ref": ref} if len(data) >= ARTIFACT_LIMIT else {})}


def _identity(run: RunInfo) -> dict[str, Any]:
    return {
        "run_id": run.workflow_run_id,
        "tenant": run.tenant,
        "node_id": run.node_id,
        "user_id": run.user_id,
        "session_id": run.session_id,
        "agent_name": run.agent.name,
        "agent_version": run.agent.version,
        "definition_hash": run.agent.definition_hash,
        "prompt_hash": run.agent.prompt_hash,
        "event_uid": run.event_uid,
        "event_type": run.event_type,
        "event_source": run.event_source,
        "replay_id": run.replay_id,
        "forked_from": run.forked_from,
    }


def _summary(request: CallRequest) -> ToolCallSummary:
    if request.arguments_ref is not None:
        return ToolCallSummary(tool=request.name, args={"arguments_ref": request.arguments_ref})
    size = len(canonical(request.arguments))
    args = request.arguments if size <= ARGUMENT_BYTES else {"arguments_bytes": size}
    return ToolCallSummary(tool=request.name, args=args)


def _sample(value: Any) -> Any:
    """Scalars as they are, texts cut, one level of an object's first fields; deeper structure by its size."""
    if isinstance(value, dict):
        return {str(key)[:64]: _leaf(item) for key, item in list(value.items())[:_FIELDS]}
    return _leaf(value)


def _leaf(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_TEXT]
    if isinstance(value, dict):
        return f"object of {len(value)}"
    if isinstance(value, list):
        return f"list of {len(value)}"
    return value
