"""What settles a pending call, and as what: a table of kind x cause. Pure.

    kind       decision         reported   answered   due             cancelled
    approval   made, or denied  -          -          denied          cancelled
    agent      -                -          outcome    timed out       - (its child is, and then answers)
    callback   -                outcome    -          timed out       cancelled
    timer      -                -          -          the time        cancelled
    intent     made, or denied  outcome    -          stays unknown   cancelled
    kube_job   -                outcome    -          timed out       cancelled

A cell without an entry settles nothing. *Made* means that the call goes to the tools service, with the approval as proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from headrace.messages import ids
from headrace.messages.base import JsonObject, Part
from headrace.messages.result import AgentResult
from headrace.messages.run import Approval, ToolCall, ToolError, ToolOutcome, Usage
from headrace.messages.wait import Kind, PendingCall, RunWait, WaitCompletion, arguments_hash

Cause = Literal["decision", "reported", "answered", "due", "cancelled"]
State = Literal["approved", "denied", "answered", "reported", "due", "cancelled"]


class Settled(Part, frozen=True, kw_only=True):
    """What became of a pending call: its outcome, or the approval to make it (with other ``arguments``, if they were edited).

    ``spent`` and ``runs`` are what a sub-agent and those below it used.
    """

    state: State
    outcome: ToolOutcome | None = None
    approval: Approval | None = None
    arguments: JsonObject | None = None
    spent: Usage = Usage()
    runs: int = 0
    decided_by: str | None = None
    reason: str | None = None


class Question(NamedTuple):
    """A pending call, and when the record was written that may settle it (epoch milliseconds)."""

    wait: RunWait
    pending: PendingCall
    call: ToolCall
    at_ms: int


def by_completion(asked: Question, said: WaitCompletion) -> Settled | None:
    """None: this settles nothing, such as a decision about other arguments."""
    verb = TABLE.get((asked.pending.kind, said.cause))
    return verb(asked, said) if verb else None


def by_result(asked: Question, result: AgentResult, outcome: ToolOutcome) -> Settled | None:
    """By a sub-agent's ``result``; ``outcome`` is what the model is to read of it."""
    if asked.pending.kind != "agent":
        return None
    spent = result.usage.plus(result.delegated)
    return Settled(state="answered", outcome=outcome, spent=spent, runs=1 + result.descendants)


def _decided(asked: Question, said: WaitCompletion) -> Settled | None:
    decision = said.decision
    if decision is None or decision.arguments_hash != asked.pending.arguments_hash:
        return None
    by, reason = decision.by, decision.reason
    if decision.verdict == "deny":
        outcome = failed(asked.call, "denied", "the call was denied" + (f": {reason}" if reason else ""))
        return Settled(state="denied", outcome=outcome, decided_by=by, reason=reason)
    edited, repeat = decision.arguments is not None, asked.pending.kind == "intent"
    digest = arguments_hash(decision.arguments) if decision.arguments is not None else decision.arguments_hash
    run, step, call = asked.wait.run, asked.wait.progress.step, asked.call
    approval = Approval(
        call_id=call.call_id,
        arguments_hash=digest,
        proof=ids.approval_proof(run.tenant, run.run_id, step, call.call_id, call.tool, digest, repeat=repeat),
        decided_by=by,
        decided_ms=asked.at_ms,
        edited=edited,
        repeat=repeat,
    )
    return Settled(state="approved", approval=approval, arguments=decision.arguments, decided_by=by, reason=reason)


def _reported(asked: Question, said: WaitCompletion) -> Settled | None:
    if said.reported is None:
        return None
    error = said.reported.error
    outcome = _outcome(asked.call, None if error else said.reported.content, error)
    return Settled(state="reported", outcome=outcome, decided_by=said.reported.by)


def _unanswered(asked: Question, said: WaitCompletion) -> Settled:
    outcome = failed(asked.call, "denied", "nobody approved the call in time")
    return Settled(state="due", outcome=outcome, reason="nobody answered in time")


def _late(asked: Question, said: WaitCompletion) -> Settled:
    return Settled(state="due", outcome=failed(asked.call, "timeout", "no outcome came in time", retryable=True))


def _unknown(asked: Question, said: WaitCompletion) -> Settled:
    text = "whether the call took effect is not known, and it is not made again"
    return Settled(state="due", outcome=failed(asked.call, "outcome_unknown", text))


def _time(asked: Question, said: WaitCompletion) -> Settled:
    return Settled(state="due", outcome=_outcome(asked.call, {"due_ms": asked.pending.deadline_ms}, None))


def _cancelled(asked: Question, said: WaitCompletion) -> Settled:
    return Settled(state="cancelled", outcome=cancelled(asked.call))


def cancelled(call: ToolCall) -> ToolOutcome:
    """The outcome of a call that is not made since its run has to end."""
    return failed(call, "cancelled", "the run was cancelled")


def failed(call: ToolCall, type_: str, message: str, *, retryable: bool = False) -> ToolOutcome:
    """An outcome that the model reads as an error."""
    return _outcome(call, None, ToolError(type=type_, message=message, retryable=retryable))


def _outcome(call: ToolCall, content: Any, error: ToolError | None) -> ToolOutcome:
    return ToolOutcome(
        call_id=call.call_id,
        tool=call.tool,
        tool_version=call.tool_version,
        status="error" if error else "ok",
        content=content,
        error=error,
    )


Verb = Callable[[Question, WaitCompletion], Settled | None]

TABLE: Final[Mapping[tuple[Kind, Cause], Verb]] = {
    ("approval", "decision"): _decided,
    ("approval", "due"): _unanswered,
    ("approval", "cancelled"): _cancelled,
    ("agent", "due"): _late,
    ("callback", "reported"): _reported,
    ("callback", "due"): _late,
    ("callback", "cancelled"): _cancelled,
    ("timer", "due"): _time,
    ("timer", "cancelled"): _cancelled,
    ("intent", "decision"): _decided,
    ("intent", "reported"): _reported,
    ("intent", "due"): _unknown,
    ("intent", "cancelled"): _cancelled,
    ("kube_job", "reported"): _reported,
    ("kube_job", "due"): _late,
    ("kube_job", "cancelled"): _cancelled,
}
