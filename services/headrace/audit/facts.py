"""What an entry says of a record: kind, ids, names, codes, counts. Nothing of what the record says.

Text from outside is taken only where it is a name, within bounds: a name that is too long or not printable is replaced by its
digest, and what looks like a credential is masked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from headrace.messages import headers as record_headers
from headrace.messages.agent import AgentRecord
from headrace.messages.base import Message
from headrace.messages.budget import BudgetChange
from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.lineage import ForkedFrom
from headrace.messages.replay import ReplayAction
from headrace.messages.result import AgentResult
from headrace.messages.run import RunInfo, ToolCalls, ToolResults, Turn
from headrace.messages.wait import RunWait, WaitCompletion
from headrace.messages.workflow import WorkflowSignal
from headrace.observe.logging import redact_text
from headrace.runtime import deadletter

Facts = dict[str, Any]
DEAD_LETTERS: Final = ".dlq"
UNDECODABLE: Final = "undecodable"
_MAX_NAME: Final = 256
_MAX_TOOLS: Final = 100  # names in one entry
_MAX_COUNT: Final = 2**53
_HEX_ID: Final = re.compile(r"[0-9a-f-]{1,64}")  # a UUID or a digest: no credential that we mask is written like that
_KINDS: Final[dict[str, str]] = {
    "ingest.raw": "event_received",
    "ingest.events": "event_normalised",
    "agent.jobs": "job_requested",
    "tool.calls": "tool_called",
    "tool.results": "tool_finished",
    "run.waits": "run_parked",
    "wait.completions": "wait_completed",
    "agent.results": "run_finished",
    "agent.definitions": "agent_published",
    "budget.changes": "budget_changed",
    "workflow.signals": "workflow_signalled",
    "replay.actions": "replay_acted",
}


def kind_of(topic: str) -> str:
    """Kind of the entries of a topic's records. Raises ``KeyError`` for a topic that is not audited."""
    return "dead_lettered" if topic.endswith(DEAD_LETTERS) else _KINDS[topic]


@lru_cache(maxsize=16_384)  # the same names come again and again: agents, models, each run's ids
def name(text: str | None) -> str | None:
    """``text`` as an entry may hold it."""
    if not text:
        return None
    if _HEX_ID.fullmatch(text):
        return text
    if len(text) > _MAX_NAME or not text.isprintable():
        return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return redact_text(text)


def of_headers(topic: str, headers: Mapping[str, str], tenant: str) -> Facts:
    """What the headers alone tell; a first record is the start of its own correlation."""
    get = headers.get
    facts: Facts = {
        "kind": kind_of(topic),
        "tenant": name(get(record_headers.TENANT)) or tenant,
        "record_id": name(get(record_headers.ID)),
        "causation_id": name(get(record_headers.CAUSATION)),
        "correlation_id": name(get(record_headers.CORRELATION) or get(record_headers.ID)),
        "run_id": name(get("ce_runid")),
        "agent_name": name(get("ce_agent")),
    }
    if topic == "ingest.raw":
        facts |= {"event_type": name(get("ce_type")), "event_source": name(get("ce_source"))}
    elif facts["kind"] == "dead_lettered":
        facts |= _of_dead_letter(topic, headers)
    return facts


def _of_dead_letter(topic: str, headers: Mapping[str, str]) -> Facts:
    if (entry := headers.get(deadletter.REDRIVEN)) is not None:
        return _of_redrive(topic, entry, headers)
    place = [headers.get(part, "") for part in (deadletter.TOPIC, deadletter.PARTITION, deadletter.OFFSET)]
    return {
        "service": topic.removesuffix(DEAD_LETTERS),
        "error_type": name(headers.get(deadletter.CAUSE)),
        "origin": name("/".join(place)) if all(place) else None,
    }


def _of_redrive(topic: str, entry: str, headers: Mapping[str, str]) -> Facts:
    """Of a marker: which dead letter was sent back, by whom, and whether as it was."""
    return {
        "service": topic.removesuffix(DEAD_LETTERS),
        "origin": name(f"{topic}/{entry}"),
        "user_id": name(headers.get(deadletter.REDRIVEN_BY)),
        "status": "redriven_edited" if deadletter.EDITED in headers else "redriven",
    }


def undecodable(cause: str) -> Facts:
    """To be put over what the headers tell: the record is not what its topic declares."""
    return {"kind": UNDECODABLE, "error_type": name(cause)}


def of_deleted_agent(key: bytes | None) -> Facts:
    """Of a tombstone on ``agent.definitions``, whose key says what is gone: ``name`` or ``name@version``."""
    agent, _, version = (key or b"").decode("utf-8", "replace").partition("@")
    return {"agent_name": name(agent), "agent_version": name(version), "status": "deleted"}


def of_message(message: Message) -> Facts:
    """What the message itself tells, to be put over what the headers tell."""
    facts = _FACTS.get(type(message))
    return facts(message) if facts else {}


def _event(event: Event) -> Facts:
    return {
        "tenant": name(event.tenant),
        **_origin(event.uid, event.type, event.source),
    }


def _job(job: Job) -> Facts:
    facts = {
        "tenant": name(job.tenant),
        "run_id": name(job.job_id),
        "workflow_run_id": name(job.run_id),
        "session_id": name(job.context.session_id),
        "user_id": name(job.user_id),
        "agent_name": name(job.agent),
        "agent_version": name(job.agent_version),
        "replay_id": name(job.replay_id),
    }
    if job.fork is not None:
        facts |= _fork(job.fork.origin, rerun=job.replay_id is not None)
    return facts | _origin(job.event.uid, job.event.type, job.event.source) if job.event else facts


def _fork(origin: ForkedFrom, *, rerun: bool) -> Facts:
    """Who asked for it, of which run at which step; ``edited`` if it is not as it was."""
    verb = "rerun" if rerun else "forked"
    return {
        "user_id": name(origin.by),
        "origin": name(f"{origin.run_id}/{origin.step}"),
        "status": f"{verb}_edited" if origin.edited else verb,
    }


def _origin(uid: str | None, type_: str | None, source: str | None) -> Facts:
    return {"event_uid": name(uid), "event_type": name(type_), "event_source": name(source)}


def _run(run: RunInfo) -> Facts:
    return {
        "tenant": name(run.tenant),
        "run_id": name(run.run_id),
        "workflow_run_id": name(run.workflow_run_id),
        "session_id": name(run.session_id),
        "user_id": name(run.user_id),
        "replay_id": name(run.replay_id),
        "agent_name": name(run.agent.name),
        "agent_version": name(run.agent.version),
        "definition_hash": name(run.agent.definition_hash),
        "prompt_hash": name(run.agent.prompt_hash),
        "model": name(run.model),
        **_origin(run.event_uid, run.event_type, run.event_source),
    }


def _calls(message: ToolCalls) -> Facts:
    return _run(message.run) | _turns(message.turns) | _tools(call.tool for call in message.calls)


def _turns(turns: tuple[Turn, ...]) -> Facts:
    return {
        "model_calls": len(turns),
        "input_tokens": _count(sum(turn.usage.input_tokens for turn in turns)),
        "output_tokens": _count(sum(turn.usage.output_tokens for turn in turns)),
        "cost_usd": sum((turn.usage.cost_usd for turn in turns), 0.0),
        "duration_ms": _count(sum(turn.latency_ms for turn in turns)),
    }


def _results(message: ToolResults) -> Facts:
    errors = [outcome.error.type for outcome in message.results if outcome.error]
    failed = any(outcome.status == "error" for outcome in message.results)
    return (
        _run(message.run)
        | _tools(outcome.tool for outcome in message.results)
        | {
            "status": "error" if failed else "ok",
            "error_type": name(errors[0]) if errors else None,
            "duration_ms": _count(sum(outcome.duration_ms for outcome in message.results)),
        }
    )


def _wait(message: RunWait) -> Facts:
    pending = {one.call_id for one in message.pending}
    kinds = sorted({one.kind for one in message.pending})
    tools = _tools(call.tool for call in message.calls if call.call_id in pending)
    return _run(message.run) | tools | {"status": "+".join(kinds)}


def _completion(message: WaitCompletion) -> Facts:
    decision = message.decision
    said = decision or message.reported
    return {
        "tenant": name(message.tenant),
        "run_id": name(message.run_id),
        "agent_name": name(message.agent),
        "user_id": name(said.by) if said and said.by else None,
        "status": decision.verdict if decision else message.cause,
    }


def _count(number: int) -> int | None:
    """A stranger's JSON may hold any number; an entry holds one that is a count."""
    return number if 0 <= number < _MAX_COUNT else None


def _tools(tools: Iterable[str]) -> Facts:
    names = tuple(text for tool in tools if (text := name(tool)))
    return {"tools": names[:_MAX_TOOLS], "tool_calls": len(names)}


def _result(result: AgentResult) -> Facts:
    began = result.started_ms and result.completed_ms
    return {
        "tenant": name(result.tenant),
        "run_id": name(result.job_id),
        "workflow_run_id": name(result.run_id),
        "session_id": name(result.session_id),
        "user_id": name(result.user_id),
        "replay_id": name(result.replay_id),
        "agent_name": name(result.agent_name),
        "agent_version": name(result.agent_version),
        "definition_hash": name(result.definition_hash),
        "prompt_hash": name(result.prompt_hash),
        "model": name(result.metadata.llm_model),
        "status": result.status,
        "error_type": name(result.error.type) if result.error else None,
        "model_calls": result.usage.model_calls,
        "input_tokens": result.usage.input_tokens,
        "output_tokens": result.usage.output_tokens,
        "cost_usd": result.usage.cost_usd,
        "duration_ms": result.completed_ms - result.started_ms if began else result.metadata.execution_time_ms,
        **_origin(result.event_uid, result.event_type, result.event_source),
        **_tools(call.tool for call in result.metadata.tool_calls),
    }


def _agent(record: AgentRecord) -> Facts:
    if record.definition is None:
        return _pointer(record)
    ref = record.definition.ref()
    return {
        "agent_name": ref.name,
        "agent_version": name(ref.version),
        "definition_hash": ref.definition_hash,
        "prompt_hash": ref.prompt_hash,
        "model": name(record.definition.model),
        "status": "defined",
    }


def _pointer(record: AgentRecord) -> Facts:
    """Which version its keys get from now on, which they had before, and who says so."""
    made = record.canary if record.change == "canary" else None
    kinds = {"canary": "canary", "rolled_back": "rolled_back"}
    return {
        "agent_name": record.name,
        "agent_version": made.version if made else record.live_version,
        "user_id": name(record.changed_by),
        "origin": record.replaced,
        "status": kinds.get(record.change or "", "live"),
    }


def _signal(signal: WorkflowSignal) -> Facts:
    """To which run of a workflow something was said, by whom, and what kind of thing."""
    error = signal.done.error if signal.done else None
    return {
        "tenant": name(signal.tenant),
        "workflow_run_id": name(signal.run_id),
        "user_id": name(signal.start.user_id) if signal.start else None,
        "status": signal.kind,
        "error_type": name(error.type) if error else None,
    }


def _budget(change: BudgetChange) -> Facts:
    """Which budget it is, the record's id tells."""
    agent = change.budget.agent if change.budget else None
    return {
        "tenant": name(change.tenant),
        "user_id": name(change.changed_by),
        "agent_name": name(agent),
        "status": change.action,
    }


def _replay(action: ReplayAction) -> Facts:
    """Who did what with history, and how it ended. What of it, as the command put it: times, offsets, flags."""
    return {
        "tenant": name(action.tenant),
        "run_id": name(action.run_id),
        "replay_id": name(action.replay_id),
        "user_id": name(action.by),
        "agent_name": name(action.agent),
        "service": name(action.service),
        "origin": name(action.range),
        "status": f"{action.kind}_{action.phase}",
        "error_type": name(action.error),
    }


_FACTS: Final[dict[type[Message], Callable[[Any], Facts]]] = {
    Event: _event,
    Job: _job,
    ToolCalls: _calls,
    ToolResults: _results,
    RunWait: _wait,
    WaitCompletion: _completion,
    AgentResult: _result,
    AgentRecord: _agent,
    BudgetChange: _budget,
    WorkflowSignal: _signal,
    ReplayAction: _replay,
}
