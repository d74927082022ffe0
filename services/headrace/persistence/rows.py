"""Records -> rows: what each message says about its run, as pure functions of the record and its place.

One function per message type, registered in ``ROWS`` at the foot. Everything is bounded here: texts are cut, JSON becomes
previews. Only the result's own data is not (``persistence.results`` decides where it goes), and tenant, run id and event uid:
two of those must never become one, so one that is too long for its index is left to the database to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from headrace.messages.base import Message
from headrace.messages.event import Event
from headrace.messages.job import Job
from headrace.messages.lineage import ForkedFrom
from headrace.messages.result import AgentResult, ToolCallSummary
from headrace.messages.run import RunInfo, ToolCalls, ToolResults, Usage
from headrace.messages.wait import RunWait
from headrace.persistence.merge import (
    RunRow,
    calls_precedence,
    end_precedence,
    job_precedence,
    results_precedence,
)
from headrace.persistence.preview import preview
from headrace.persistence.steps import calls_summary, job_summary, result_summary, results_summary, wait_summary
from headrace.persistence.values import LONG, parsed_time, recorded_at, text, time_of
from headrace.postgres.json import Document, storable_text
from headrace.runtime.api import Context


class ResultRow(NamedTuple):
    """The columns of ``agent_results`` that persistence writes, in the order of ``tables.RESULTS``."""

    result_id: str
    job_id: str
    run_id: str
    node_id: str
    result_data: Document | None
    cas_id: str | None
    status: str
    error: Document | None
    tool_calls: Document
    tokens_used: int
    cache_hit: bool
    execution_time_ms: int
    created_at: datetime
    completed_at: datetime | None
    tenant: str


@dataclass(slots=True)
class Rows:
    """What one record writes. ``step``, ``event`` and ``session`` are rows of ``tables.STEPS``, ``EVENTS``, ``SESSION_RUNS``."""

    run: RunRow | None = None
    step: tuple[Any, ...] | None = None
    result: ResultRow | None = None
    event: tuple[Any, ...] | None = None
    session: tuple[Any, ...] | None = None

    @property
    def weight(self) -> int:
        """Bytes that are not bounded by a preview."""
        return len(self.result.result_data.data) if self.result and self.result.result_data else 0


def job_rows(job: Job, context: Context, preview_bytes: int) -> Rows:
    event = job.event
    run = RunRow(
        tenant=storable_text(job.tenant),
        run_id=storable_text(job.job_id),
        precedence=job_precedence(context.timestamp_ms),
        state="pending",
        agent_name=text(job.agent),
        agent_version=text(job.agent_version),
        event_uid=text(event.uid) if event else None,
        event_type=text(event.type) if event else None,
        event_source=text(event.source, LONG) if event else None,
        event_subject=text(event.subject, LONG) if event else None,
        user_id=text(job.user_id),
        session_id=text(job.context.session_id),
        workflow_run_id=text(job.run_id),
        node_id=text(job.node_id),
        replay_id=text(job.replay_id),
        parent_run_id=text(job.family.parent_run_id) if job.family else None,
        root_run_id=text(job.family.root_run_id) if job.family else None,
        **_origin(job.fork.origin if job.fork else None),
        created_at=recorded_at(context),
        input_preview=preview(_job_input(job), preview_bytes),
    )
    return Rows(run=run, step=_step(run, context, "job", 0, preview(job_summary(job), preview_bytes)))


def calls_rows(calls: ToolCalls, context: Context, preview_bytes: int) -> Rows:
    step = calls.progress.step
    run = _running(calls, calls_precedence(step), context)
    summary = preview(calls_summary(calls), preview_bytes)
    return Rows(run=run, step=_step(run, context, "tool_calls", step, summary))


def results_rows(results: ToolResults, context: Context, preview_bytes: int) -> Rows:
    step = results.progress.step
    run = _running(results, results_precedence(step), context)
    summary = preview(results_summary(results), preview_bytes)
    return Rows(run=run, step=_step(run, context, "tool_results", step, summary))


def wait_rows(wait: RunWait, context: Context, preview_bytes: int) -> Rows:
    step = wait.progress.step
    run = _running(wait, calls_precedence(step), context)
    return Rows(run=run, step=_step(run, context, "wait", step, preview(wait_summary(wait), preview_bytes)))


def result_rows(result: AgentResult, context: Context, preview_bytes: int) -> Rows:
    started = time_of(result.started_ms)
    known_span = result.started_ms > 0 and result.completed_ms >= result.started_ms
    outcome = result.result_preview if result.output is None else result.output
    run = RunRow(
        tenant=storable_text(result.tenant),
        run_id=storable_text(result.job_id),
        precedence=end_precedence(context.timestamp_ms),
        state=result.status,
        agent_name=text(result.agent_name),
        agent_version=text(result.agent_version),
        definition_hash=text(result.definition_hash),
        prompt_hash=text(result.prompt_hash),
        model=text(result.metadata.llm_model),
        event_uid=text(result.event_uid),
        event_type=text(result.event_type),
        event_source=text(result.event_source, LONG),
        user_id=text(result.user_id),
        session_id=text(result.session_id),
        workflow_run_id=text(result.run_id),
        node_id=text(result.node_id),
        replay_id=text(result.replay_id),
        parent_run_id=text(result.parent_run_id),
        **_origin(result.forked_from),
        created_at=started or recorded_at(context),
        started_at=started,
        completed_at=time_of(result.completed_ms) or parsed_time(result.completed_at) or recorded_at(context),
        steps=result.steps,
        tool_calls=_call_count(result.metadata.tool_calls),
        **_usage(result.usage),
        latency_ms=result.completed_ms - result.started_ms if known_span else result.metadata.execution_time_ms,
        error=preview(result.error.plain(), preview_bytes) if result.error else None,
        outcome=None if outcome is None else preview(outcome, preview_bytes),
        result_ref=text(result.result_ref),
    )
    summary = preview(result_summary(result), preview_bytes)
    step = _step(run, context, "result", result.steps, summary)
    return Rows(run=run, step=step, session=_session_row(result, run))


def event_rows(event: Event, context: Context, preview_bytes: int) -> Rows:
    source = context.source
    return Rows(
        event=(
            storable_text(event.uid),
            storable_text(event.tenant),
            text(event.id, LONG),
            text(event.source, LONG),
            text(event.type),
            text(event.subject, LONG),
            parsed_time(event.time),
            recorded_at(context),
            text(event.partition_key, LONG),
            text(event.actor),
            text(event.url, LONG),
            text(event.severity),
            preview(event.data, preview_bytes),
            source.topic,
            source.partition,
            source.offset,
        )
    )


def _session_row(result: AgentResult, run: RunRow) -> tuple[Any, ...] | None:
    """What the run left in its session."""
    if result.session is None or result.session_id is None:
        return None
    left = result.session.left
    usage = Document(orjson.dumps(result.session.pipeline_usage))
    name = (run.tenant, storable_text(result.session_id), run.run_id)
    end = (run.agent_name, run.state, run.completed_at)
    return (*name, left.turns, *end, left.head, left.stored, left.result_ref, usage)


def _running(message: ToolCalls | ToolResults | RunWait, precedence: int, context: Context) -> RunRow:
    run: RunInfo = message.run
    progress = message.progress
    started = time_of(run.started_ms)
    return RunRow(
        tenant=storable_text(run.tenant),
        run_id=storable_text(run.run_id),
        precedence=precedence,
        state="running",
        agent_name=text(run.agent.name),
        agent_version=text(run.agent.version),
        definition_hash=text(run.agent.definition_hash),
        prompt_hash=text(run.agent.prompt_hash),
        model=text(run.model),
        event_uid=text(run.event_uid),
        event_type=text(run.event_type),
        event_source=text(run.event_source, LONG),
        user_id=text(run.user_id),
        session_id=text(run.session_id),
        workflow_run_id=text(run.workflow_run_id),
        node_id=text(run.node_id),
        replay_id=text(run.replay_id),
        parent_run_id=text(run.family.parent_run_id) if run.family else None,
        root_run_id=text(run.family.root_run_id) if run.family else None,
        **_origin(run.forked_from),
        created_at=started or recorded_at(context),
        started_at=started,
        steps=progress.step,
        tool_calls=progress.tool_calls,
        **_usage(progress.usage),
    )


def _origin(origin: ForkedFrom | None) -> dict[str, Any]:
    return {"forked_from": text(origin.run_id), "forked_step": origin.step} if origin else {}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "model_calls": usage.model_calls,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cost_usd": usage.cost_usd,
    }


def _call_count(calls: Sequence[ToolCallSummary]) -> int:
    """A list that was too long ends with an item that says how many are not in it."""
    if calls and isinstance(omitted := calls[-1].args.get("omitted_calls"), int):
        return len(calls) - 1 + omitted
    return len(calls)


def _step(run: RunRow, context: Context, kind: str, step: int, summary: Document) -> tuple[Any, ...]:
    source = context.source
    place = (source.topic, source.partition, source.offset)
    return (*place, run.tenant, run.run_id, kind, step, recorded_at(context), context.size, summary)


_SHOWN_OF_EVENT: Final = ("id", "source", "type", "subject", "time", "actor", "url", "severity")


def _job_input(job: Job) -> dict[str, Any]:
    """What the run was asked: prompt, input, and the event without its data (that is in ``events``)."""
    shown: dict[str, Any] = {}
    if job.prompt is not None:
        shown["prompt"] = job.prompt
    if job.input is not None:
        shown["input"] = job.input
    if job.event is not None:
        event = {name: getattr(job.event, name) for name in _SHOWN_OF_EVENT}
        shown["event"] = {name: value for name, value in event.items() if value is not None}
    return shown


ROWS: Final[dict[type[Message], Callable[[Any, Context, int], Rows]]] = {
    Job: job_rows,
    ToolCalls: calls_rows,
    ToolResults: results_rows,
    RunWait: wait_rows,
    AgentResult: result_rows,
    Event: event_rows,
}
