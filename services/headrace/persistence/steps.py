"""What a step of a run shows of its record: names, sizes, outcomes and costs; never whole arguments or contents."""

from __future__ import annotations

from typing import Any

from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolOutcome, ToolResults, Turn, Usage
from headrace.messages.wait import RunWait


def job_summary(job: Job) -> dict[str, Any]:
    return _known(
        agent=job.agent,
        agent_version=job.agent_version,
        event_type=job.event.type if job.event else None,
        workflow_tag=job.workflow_tag,
        retry_count=job.retry_count or None,
        timeout_sec=job.timeout_sec,
        forked_from=job.fork.origin.plain(nulls=False) if job.fork else None,
    )


def calls_summary(calls: ToolCalls) -> dict[str, Any]:
    return {
        "calls": [{"call_id": call.call_id, "tool": call.tool, "effect": call.effect} for call in calls.calls],
        **_turns(calls.turns),
    }


def results_summary(results: ToolResults) -> dict[str, Any]:
    return {"results": [_outcome(outcome) for outcome in results.results]}


def wait_summary(wait: RunWait) -> dict[str, Any]:
    tools = {call.call_id: call.tool for call in wait.calls}
    pending = [
        _known(
            call_id=one.call_id,
            tool=tools.get(one.call_id),
            kind=one.kind,
            deadline_ms=one.deadline_ms,
            child_run_id=one.job.job_id if one.job else None,
        )
        for one in wait.pending
    ]
    return {"pending": pending}


def result_summary(result: AgentResult) -> dict[str, Any]:
    return _known(
        status=result.status,
        error_type=result.error.type if result.error else None,
        tools=[call.tool for call in result.metadata.tool_calls],
        tokens_used=result.metadata.tokens_used,
        **_turns(result.turns),
    )


def _turns(turns: tuple[Turn, ...]) -> dict[str, Any]:
    """The model calls that led to the record, as one."""
    if not turns:
        return {}
    usage = Usage.of(turns)
    return _known(
        model=turns[-1].model,
        model_calls=len(turns),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=usage.cost_usd,
        model_ms=sum(turn.latency_ms for turn in turns),
        stop_reason=turns[-1].stop_reason,
        text=turns[-1].text,
    )


def _outcome(outcome: ToolOutcome) -> dict[str, Any]:
    return _known(
        call_id=outcome.call_id,
        tool=outcome.tool,
        status=outcome.status,
        duration_ms=outcome.duration_ms,
        error_type=outcome.error.type if outcome.error else None,
    )


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
