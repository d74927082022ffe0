"""The record that a run goes on with when nothing of its wait is pending any more. Pure, so the same wait makes the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.messages.run import Progress, RunInfo, ToolCall, ToolCalls, ToolOutcome, ToolResults, Usage
from headrace.messages.wait import RunWait, human
from headrace.orchestration.waits.settle import Settled, cancelled


def resumed(
    wait: RunWait, settled: Mapping[str, Settled], *, parked_ms: int, closed_ms: int
) -> ToolCalls | ToolResults:
    """``tool.results`` if each call has its outcome, else ``tool.calls`` for those that were approved.

    ``settled`` has every pending call, by call id. Times are epoch milliseconds. A run's time stands still while it waits for
    somebody: its deadline moves by as much.
    """
    approvals = tuple(one.approval for one in settled.values() if one.approval)
    if not approvals:
        return _finished(wait, settled, parked_ms, closed_ms)
    return ToolCalls(
        run=_run(wait, parked_ms, closed_ms),
        progress=_progress(wait, settled),
        transcript=wait.transcript,
        turns=(),  # they are in the first record of these calls
        calls=tuple(_as_approved(call, settled.get(call.call_id)) for call in wait.calls),
        round=wait.round + 1,
        results=_in_order(wait, settled),
        approvals=approvals,
    )


def ended(wait: RunWait, settled: Mapping[str, Settled], *, parked_ms: int, closed_ms: int) -> ToolResults:
    """The record with which a cancelled run ends: no call is made any more, approved or not. Else as ``resumed``."""
    calls = {call.call_id: call for call in wait.calls}
    stopped = {
        call_id: one if one.outcome else one.replace(outcome=cancelled(calls[call_id]), approval=None)
        for call_id, one in settled.items()
    }
    return _finished(wait, stopped, parked_ms, closed_ms).replace(cancelled=True)


def _finished(wait: RunWait, settled: Mapping[str, Settled], parked_ms: int, closed_ms: int) -> ToolResults:
    progress, results = _progress(wait, settled), _in_order(wait, settled)
    return ToolResults(
        run=_run(wait, parked_ms, closed_ms),
        progress=progress.replace(tool_calls=progress.tool_calls + len(results)),
        transcript=wait.transcript,
        results=results,
    )


def _run(wait: RunWait, parked_ms: int, closed_ms: int) -> RunInfo:
    waited = max(0, closed_ms - parked_ms) if human(wait.pending) else 0
    return wait.run.replace(deadline_ms=wait.run.deadline_ms + waited)


def _progress(wait: RunWait, settled: Mapping[str, Settled]) -> Progress:
    """With what sub-agents used."""
    return wait.progress.replace(
        delegated=_sum(wait.progress.delegated, [one.spent for one in settled.values()]),
        children=wait.progress.children + sum(one.runs for one in settled.values()),
    )


def _in_order(wait: RunWait, settled: Mapping[str, Settled]) -> tuple[ToolOutcome, ...]:
    """All outcomes that there are, in the order of the calls."""
    known = {outcome.call_id: outcome for outcome in wait.results}
    known |= {call_id: one.outcome for call_id, one in settled.items() if one.outcome}
    return tuple(known[call.call_id] for call in wait.calls if call.call_id in known)


def _as_approved(call: ToolCall, settled: Settled | None) -> ToolCall:
    if settled is None or settled.arguments is None:
        return call
    return call.replace(arguments=settled.arguments, arguments_ref=None)


def _sum(first: Usage, others: list[Usage]) -> Usage:
    for usage in others:
        first = first.plus(usage)
    return first
