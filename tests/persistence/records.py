"""Records of realistic runs, each with its place in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.messages.base import Message
from headrace.messages.event import Event, Origin
from headrace.messages.ids import event_uid, result_id
from headrace.messages.job import Job, JobContext
from headrace.messages.result import AgentResult, ResultError, ResultMetadata, SessionTurn, ToolCallSummary
from headrace.messages.run import (
    AgentRef,
    CallRequest,
    Progress,
    RunInfo,
    SessionState,
    ToolCall,
    ToolCalls,
    ToolOutcome,
    ToolResults,
    Transcript,
    Turn,
    Usage,
)
from headrace.messages.wait import PendingCall, RunWait
from headrace.runtime.api import Context, Source

Record = tuple[Message, Context]
STARTED = 1_790_000_000_000
MODEL = "anthropic:claude-haiku-5-5"


def context(topic: str, offset: int, *, at: int = STARTED, partition: int = 0, size: int = 500) -> Context:
    return Context(Source(topic, partition, offset), {}, at, 1, size)


def an_event(number: int = 0, *, data: Any = None) -> Event:
    source = "https://github.com/acme/shop"
    return Event(
        uid=event_uid("default", source, f"d-{number}"),
        id=f"d-{number}",
        source=source,
        type="com.github.pull_request.opened",
        subject=str(number),
        time="2026-09-21T13:33:20Z",
        tenant="default",
        partition_key="acme/shop",
        data={"title": "Fix\x00it"} if data is None else data,
        origin=Origin(kind="webhook", topic="ingest.raw", partition=0, offset=number),
    )


def a_job(run_id: str, event: Event | None = None, **fields: Any) -> Job:
    given: dict[str, Any] = {
        "job_id": run_id,
        "agent": "reviewer",
        "user_id": "u-1",
        "run_id": "wf-1",
        "prompt": "Review",
    }
    return Job(**{**given, "event": event, "context": JobContext(session_id="s-1"), **fields})


def a_result(job_id: str, **fields: Any) -> AgentResult:
    given: dict[str, Any] = {
        "job_id": job_id,
        "status": "completed",
        "result_ref": f"artifact://{result_id('default', job_id)}",
        "output": {"risk": "low"},
        "metadata": ResultMetadata(tokens_used=150, execution_time_ms=900, llm_model=MODEL),
        "completed_at": "2026-09-21T13:33:21Z",
        "started_ms": STARTED,
        "completed_ms": STARTED + 900,
    }
    return AgentResult(**{**given, **fields})


def a_run(run_id: str, *, turns: int = 2, fails: bool = False, first_offset: int = 0) -> list[Record]:
    """All records of one run: event, job, calls and results of each turn, result."""
    return list(_records(run_id, turns, fails, first_offset))


def _records(run_id: str, turns: int, fails: bool, first: int) -> Iterator[Record]:
    event = an_event(first)
    info = RunInfo(
        tenant="default",
        run_id=run_id,
        agent=AgentRef(name="reviewer", version="1.2.0", definition_hash="d" * 16, prompt_hash="p" * 16),
        model=MODEL,
        started_ms=STARTED + 5,
        deadline_ms=STARTED + 300_000,
        workflow_run_id="wf-1",
        user_id="u-1",
        session_id="s-1",
        event_uid=event.uid,
        event_type=event.type,
        event_source=event.source,
    )
    yield event, context("ingest.events", first)
    yield a_job(run_id, event), context("agent.jobs", first, at=STARTED + 5)
    usage = Usage()
    for step in range(turns):
        turn_usage = Usage(input_tokens=100, output_tokens=20, cost_usd=0.001, model_calls=1)
        usage = usage.plus(turn_usage)
        offset, at = first + step, STARTED + 100 * (step + 1)
        progress = Progress(step=step, tool_calls=step + 1, usage=usage)
        request = CallRequest(id=f"c{step}", name="execute_pipeline", arguments={"k": step})
        shared: dict[str, Any] = {"run": info, "progress": progress, "transcript": Transcript()}
        call = ToolCall(call_id=f"c{step}", tool=request.name, tool_version="1", idempotency_key=f"{run_id}-{step}")
        turn = Turn(tool_calls=(request,), usage=turn_usage, model=MODEL)
        yield ToolCalls(**shared, turns=(turn,), calls=(call,)), context("tool.calls", offset, at=at)
        if step == 1:
            question = PendingCall(call_id="c1", kind="approval", deadline_ms=STARTED, arguments_hash="a" * 64)
            parked = RunWait(**shared, calls=(call,), pending=(question,))
            yield parked, context("run.waits", offset, at=at + 20)
        outcome = ToolOutcome(call_id=f"c{step}", tool=request.name, tool_version="1", status="ok", content=[1, 2])
        yield ToolResults(**shared, results=(outcome,)), context("tool.results", offset, at=at + 50)
    ending: dict[str, Any] = {"output": {"risk": "low", "text": "nul \x00 here"}}
    if fails:
        ending = {"status": "failed", "output": None, "result_ref": None}
        ending["error"] = ResultError(type="limit_tokens", message="too many tokens")
    yield (
        a_result(
            run_id,
            **ending,
            run_id="wf-1",
            user_id="u-1",
            session_id="s-1",
            agent_name="reviewer",
            agent_version="1.2.0",
            definition_hash="d" * 16,
            prompt_hash="p" * 16,
            event_uid=event.uid,
            event_type=event.type,
            event_source=event.source,
            metadata=ResultMetadata(
                tool_calls=tuple(ToolCallSummary(tool="execute_pipeline", args={"k": step}) for step in range(turns)),
                tokens_used=usage.total_tokens,
                llm_model=MODEL,
            ),
            steps=turns,
            usage=usage,
            started_ms=STARTED + 5,
            session=SessionTurn(
                found=SessionState(),
                left=SessionState(turns=1, head="cas://segment", stored=2),
                pipeline_usage={"pipeline_ab": turns},
            ),
        ),
        context("agent.results", first, at=STARTED + 1_000),
    )
