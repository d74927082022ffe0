"""``tool.calls`` records: the calls of one turn with what the tools service needs to make them safely. Pure.

A call to a tool that the definition does not grant, or that nobody knows, is passed on: the tools service is the one
place that refuses (``not_allowed``, ``unknown_tool``), so each refusal is a recorded outcome like any other, and the
model reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.messages import ids
from headrace.messages.run import CallRequest, Progress, RunInfo, ToolCall, ToolCalls, Transcript, Turn
from headrace.toolspecs import Spec

UNKNOWN_VERSION = "0.0.0"


def calls_record(
    run: RunInfo,
    progress: Progress,
    transcript: Transcript,
    turns: tuple[Turn, ...],
    requests: tuple[CallRequest, ...],
    specs: Mapping[str, Spec],
) -> ToolCalls:
    """The record that asks for ``requests``; their ids are unique within the run."""
    calls = tuple(_call(run, progress.step, request, specs.get(request.name)) for request in requests)
    return ToolCalls(run=run, progress=progress, transcript=transcript, turns=turns, calls=calls)


def _call(run: RunInfo, step: int, request: CallRequest, spec: Spec | None) -> ToolCall:
    return ToolCall(
        call_id=request.id,
        tool=request.name,
        tool_version=spec.version if spec else UNKNOWN_VERSION,
        arguments=request.arguments,
        arguments_ref=request.arguments_ref,
        effect=spec.effect if spec else "none",
        idempotency_key=ids.call_key(run.tenant, run.run_id, step, request.id),
    )
