"""Calls that can't finish now: which of them need somebody's yes, is a yes that came along a true one, and the record that parks.

Pure. That a call is approved is never taken from the record's word: the proof is made again from run, step, call,
tool and the arguments that would run.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from headrace.messages import ids
from headrace.messages.agent import AgentDefinition, Approvals
from headrace.messages.base import JsonObject
from headrace.messages.run import Approval, ToolCall, ToolCalls, ToolOutcome
from headrace.messages.wait import PendingCall, RunWait, arguments_hash
from headrace.tools.api import CallParked, ToolFailure


def needs_approval(definition: AgentDefinition, tool: str) -> bool:
    """Whether the agent's definition wants somebody's yes before this tool is called."""
    rule = definition.approvals
    return rule is not None and (not rule.tools or any(fnmatchcase(tool, pattern) for pattern in rule.tools))


def standing(
    definition: AgentDefinition, call: ToolCall, approval: Approval | None
) -> Literal["none", "required", "given", "repeat"]:
    """How it stands with the approval of a call."""
    if approval is not None:
        return "repeat" if approval.repeat else "given"
    return "required" if needs_approval(definition, call.tool) else "none"


def approval_timeout_s(definition: AgentDefinition) -> float:
    """How long somebody has for it."""
    return (definition.approvals or Approvals()).timeout_s


def approval_of(message: ToolCalls, call: ToolCall, arguments: JsonObject) -> Approval | None:
    """The approval that came with ``call``. Raises ``ToolFailure`` (``not_approved``) for one that is not for this
    call as it stands.
    """
    found = next((one for one in message.approvals if one.call_id == call.call_id), None)
    if found is None:
        return None
    run, digest = message.run, arguments_hash(arguments)
    place = (run.tenant, run.run_id, message.progress.step, call.call_id, call.tool)
    proof = ids.approval_proof(*place, digest, repeat=found.repeat)
    if not hmac.compare_digest(proof, found.proof) or digest != found.arguments_hash:
        raise ToolFailure("not_approved", "the approval is not for this call with these arguments")
    return found


def pending(call: ToolCall, arguments: JsonObject, parked: CallParked) -> PendingCall:
    return PendingCall(
        call_id=call.call_id,
        kind=parked.kind,
        deadline_ms=parked.deadline_ms,
        arguments_hash=arguments_hash(arguments),
        job=parked.job,
        kube_job=parked.kube_job,
    )


def parked(
    message: ToolCalls, results: Sequence[ToolOutcome], calls: Sequence[PendingCall], elapsed_ms: int
) -> RunWait:
    """The record that parks the run until ``calls`` are settled; ``results`` are the outcomes that there are."""
    return RunWait(
        run=message.run,
        progress=message.progress.replace(tool_ms=message.progress.tool_ms + elapsed_ms),
        transcript=message.transcript,
        calls=message.calls,
        pending=tuple(calls),
        results=tuple(results),
        round=message.round,
    )
