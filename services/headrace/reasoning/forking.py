"""A fork's first stretch: it begins where the other run was, with what its job brought of that run. Pure.

The fork was admitted like any job (once, by its id, with version, model, budgets and time of its own), so only the
beginning differs: at the job, at the outcomes of a turn's calls, or with those calls of the turn that have no outcome.
"""

from __future__ import annotations

from headrace.messages import ids
from headrace.messages.fork import Fork, Taken
from headrace.messages.run import RunInfo, ToolCall, ToolCalls


def as_forked(run: RunInfo, fork: Fork) -> RunInfo:
    """``run`` with what the other run had found when it began."""
    session = fork.session
    return run.replace(session=session, toolset_ref=fork.toolset_ref if fork.taken else run.toolset_ref)


def calls_again(run: RunInfo, taken: Taken) -> ToolCalls:
    """The record that has the open calls made, for this run: with keys of its own, so no tool takes them for the other's."""
    calls = tuple(_own(run, taken.progress.step, call) for call in taken.calls)
    return ToolCalls(
        run=run, progress=taken.progress, transcript=taken.transcript, turns=(), calls=calls, results=taken.results
    )


def _own(run: RunInfo, step: int, call: ToolCall) -> ToolCall:
    return call.replace(idempotency_key=ids.call_key(run.tenant, run.run_id, step, call.call_id))
