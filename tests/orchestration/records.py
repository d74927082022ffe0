"""Waits and what completes them."""

from __future__ import annotations

from typing import Any

from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import AgentRef, Entry, Family, Progress, RunInfo, ToolCall, ToolOutcome, Transcript, Usage
from headrace.messages.wait import Decision, Kind, PendingCall, RunWait, WaitCompletion, arguments_hash
from headrace.runtime.api import Context, Source

PARKED_MS = 1_800_000_000_000
DEADLINE_MS = PARKED_MS + 300_000
ARGUMENTS = {"amount": 12, "to": "ada"}
HASH = arguments_hash(ARGUMENTS)


def call(number: int, tool: str = "pay") -> ToolCall:
    return ToolCall(
        call_id=f"call_1_{number}", tool=tool, tool_version="1.0.0", arguments=ARGUMENTS, idempotency_key=f"k{number}"
    )


def outcome(number: int) -> ToolOutcome:
    return ToolOutcome(
        call_id=f"call_1_{number}", tool="look", tool_version="1.0.0", status="ok", content={"n": number}
    )


def pending(number: int, kind: Kind = "approval", run_id: str = "run-1") -> PendingCall:
    job = child_job(number, run_id) if kind == "agent" else None
    name = f"call_1_{number}"
    return PendingCall(call_id=name, kind=kind, deadline_ms=DEADLINE_MS, arguments_hash=HASH, job=job)


def child_job(number: int, run_id: str = "run-1") -> Job:
    family = Family(parent_run_id=run_id, root_run_id=run_id, depth=1, runs_left=3, max_tokens=1_000, max_cost_usd=0.1)
    return Job(job_id=f"{run_id}-child-{number}", agent="helper", input={"n": number}, family=family)


def wait(*kinds: Kind, run_id: str = "run-1", done: int = 0, round: int = 0) -> RunWait:
    """A turn of ``done`` calls that have their outcome, and then one pending call of each kind."""
    count = done + len(kinds)
    waiting = tuple(pending(number, kind, run_id) for number, kind in enumerate(kinds, start=done + 1))
    return RunWait(
        run=RunInfo(
            tenant="t",
            run_id=run_id,
            agent=AgentRef(name="payer", version="1.0.0", definition_hash="d" * 16, prompt_hash="p" * 16),
            model="offline",
            started_ms=PARKED_MS - 1_000,
            deadline_ms=DEADLINE_MS,
        ),
        progress=Progress(step=1, tool_calls=2, usage=Usage(input_tokens=10, cost_usd=0.5)),
        transcript=Transcript(tail=(Entry(role="user", content="go"),)),
        calls=tuple(call(number) for number in range(1, count + 1)),
        pending=waiting,
        results=tuple(outcome(number) for number in range(1, done + 1)),
        round=round,
    )


def said(number: int = 1, cause: Any = "due", run_id: str = "run-1", **changes: Any) -> WaitCompletion:
    return WaitCompletion(tenant="t", run_id=run_id, step=1, call_id=f"call_1_{number}", cause=cause, **changes)


def decided(verdict: Any = "approve", number: int = 1, run_id: str = "run-1", **changes: Any) -> WaitCompletion:
    decision = Decision(**{"verdict": verdict, "arguments_hash": HASH, "by": "key-7"} | changes)
    return said(number, "decision", run_id, decision=decision)


def child_result(number: int = 1, run_id: str = "run-1", **changes: Any) -> AgentResult:
    given = {
        "job_id": f"{run_id}-child-{number}",
        "tenant": "t",
        "status": "completed",
        "completed_at": "2026-01-01T00:00:00Z",
        "agent_name": "helper",
        "output": {"answer": number},
        "usage": Usage(input_tokens=7, cost_usd=0.25),
        "delegated": Usage(input_tokens=1),
        "descendants": 2,
        "parent_run_id": run_id,
    }
    return AgentResult(**given | changes)


def at(offset: int, topic: str = "wait.completions", ms: int = PARKED_MS) -> Context:
    headers = {"ce_id": f"{topic}-{offset}", "ce_correlationid": "first"}
    return Context(Source(topic, 0, offset), headers, ms)
