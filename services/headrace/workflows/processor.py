"""``workflow.signals`` + ``agent.results`` + ``ingest.events`` -> ``agent.jobs`` + ``workflow.signals``: runs of workflows go on.

Each record is one event of one run; what it leads to is stored with the run's state before it is produced, so a record that is read
again produces the same again. It refuses to know how agents and tools work, and decides nothing itself: ``machine`` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from headrace.blobs import BlobStore
from headrace.blobs.tenants import TenantBlobs
from headrace.control.cancellations import PostgresCancellations
from headrace.messages import strict_json
from headrace.messages.base import Message
from headrace.messages.errors import RejectedMessage
from headrace.messages.event import Event
from headrace.messages.result import AgentResult
from headrace.messages.workflow import WorkError, WorkflowSignal, WorkStart
from headrace.observe.logging import get_logger
from headrace.observe.metrics import WORKFLOW_SECONDS, WORKFLOWS
from headrace.runtime.api import Context, Send
from headrace.workflows import events
from headrace.workflows.graph import Plan, plan_of
from headrace.workflows.listening import Listening
from headrace.workflows.machine import advance, fresh
from headrace.workflows.repository import Stored, WorkflowRepository
from headrace.workflows.runs import Applied, Pinned, WorkflowRuns
from headrace.workflows.works import cancelled_jobs, finished, sends

log = get_logger(__name__)

MAX_DEPTH: Final = 8  # workflows within workflows
MAX_OUTPUT_BYTES: Final = 1_000_000  # an agent's answer past this is its reference and a preview to the workflow
_REMEMBERED: Final = 10_000

for _status in ("completed", "failed", "cancelled"):
    WORKFLOWS.labels(_status)  # there from the start: what appears with its first run has no rate


class WorkflowProcessor:
    """A processor for the three topics; ``listening`` says which workflows an event starts."""

    def __init__(
        self,
        repository: WorkflowRepository,
        runs: WorkflowRuns,
        cancellations: PostgresCancellations,
        listening: Listening,
        blobs: BlobStore,
    ) -> None:
        self._repository = repository
        self._runs = runs
        self._cancellations = cancellations
        self._listening = listening
        self._blobs = blobs
        self.takes: Collection[type[Message]] = (AgentResult, Event, WorkflowSignal)
        self._plans: dict[tuple[str, str, int], Plan] = {}
        self._pinned: dict[tuple[str, str], Pinned] = {}

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        """One record in; the jobs and signals that follow from it out.

        Raises:
            RejectedMessage: a signal without what its kind needs, or a start of a workflow that there is not.
            DependencyUnavailable: Postgres is away.
        """
        match message:
            case AgentResult():
                return await self._result(message, context)
            case Event():
                return [Send(start) for start in self._listening.starts(message)]
            case WorkflowSignal():
                return await _KINDS[message.kind](self, message, context)
        raise RejectedMessage(f"workflows do not take {type(message).__name__}")

    async def _result(self, result: AgentResult, context: Context) -> Sequence[Send]:
        """The end of an agent's or a tool's run, if a workflow began it."""
        if result.run_id is None or result.node_id is None:
            return ()
        error = WorkError(type=result.error.type, message=result.error.message) if result.error else None
        output = None if error else await self._output(result)
        done = events.Finished(work_id=result.job_id, output=output, error=error)
        return await self._apply(result.tenant, result.run_id, result.message_id(), done, context.timestamp_ms)

    async def _output(self, result: AgentResult) -> Any:
        if result.output is not None or result.output_ref is None:
            return result.output
        data = await TenantBlobs(self._blobs, result.tenant).get(result.output_ref)
        if len(data) <= MAX_OUTPUT_BYTES:
            return strict_json.loads(data)
        return {"result_ref": result.output_ref, "preview": result.result_preview}

    async def _start(self, signal: WorkflowSignal, context: Context) -> Sequence[Send]:
        start = _needed(signal.start, signal)
        stored = await self._repository.get(signal.tenant, start.tag, start.version)
        if stored is None or start.depth > MAX_DEPTH:
            return _not_begun(signal, start, "unknown_workflow" if stored is None else "too_deep")
        run = Pinned(
            tenant=signal.tenant,
            run_id=signal.run_id,
            tag=start.tag,
            version=stored.version,
            start=start,
            started_ms=context.timestamp_ms,
        )
        plan = self._plan(signal.tenant, stored)
        state = fresh(plan, run.tenant, run.run_id, start.input)
        state, commands = advance(plan, state, events.Begun(), context.timestamp_ms)
        applied = await self._runs.begin(run, signal.id, state, commands, context.timestamp_ms)
        if applied is None:
            return ()
        log.info("workflow_begun", run_id=run.run_id, workflow=run.tag, version=run.version, trigger=start.trigger)
        return await self._carried_out(applied, plan, context.timestamp_ms)

    async def _finished(self, signal: WorkflowSignal, context: Context) -> Sequence[Send]:
        done = _needed(signal.done, signal)
        event = events.Finished(work_id=done.work_id, output=done.output, error=done.error)
        return await self._apply(signal.tenant, signal.run_id, signal.id, event, context.timestamp_ms)

    async def _tick(self, signal: WorkflowSignal, context: Context) -> Sequence[Send]:
        at_ms = _needed(signal.at_ms, signal)
        return await self._apply(signal.tenant, signal.run_id, signal.id, events.Woken(), at_ms)

    async def _event(self, signal: WorkflowSignal, context: Context) -> Sequence[Send]:
        named = _needed(signal.signal, signal)
        event = events.Signalled(name=named.name, payload=named.payload)
        return await self._apply(signal.tenant, signal.run_id, signal.id, event, context.timestamp_ms)

    async def _asked(self, signal: WorkflowSignal, context: Context) -> Sequence[Send]:
        event = events.Asked(what=signal.kind)  # type: ignore[arg-type]  # the table below sends these three here
        return await self._apply(signal.tenant, signal.run_id, signal.id, event, context.timestamp_ms)

    async def _pass(self, signal: WorkflowSignal, context: Context) -> Sequence[Send]:
        """Said to somebody outside."""
        return ()

    async def _apply(self, tenant: str, run_id: str, event_id: str, event: events.Event, now_ms: int) -> Sequence[Send]:
        run = await self._known(tenant, run_id)
        if run is None:  # a caller's own workflow run, or one whose start was refused
            return ()
        plan = await self._plan_of(run)
        applied = await self._runs.apply(run, event_id, lambda state: advance(plan, state, event, now_ms), now_ms)
        return await self._carried_out(applied, plan, now_ms)

    async def _carried_out(self, applied: Applied, plan: Plan, now_ms: int) -> Sequence[Send]:
        run = applied.run
        for job_id in cancelled_jobs(applied.commands):
            await self._cancellations.ask(run.tenant, job_id)
        if not applied.again:
            _measure(applied, now_ms)
        return sends(run, plan.definition.owner, applied.commands)

    async def _known(self, tenant: str, run_id: str) -> Pinned | None:
        run = self._pinned.get((tenant, run_id))
        if run is None and (run := await self._runs.pinned(tenant, run_id)):
            if len(self._pinned) >= _REMEMBERED:
                self._pinned.clear()
            self._pinned[tenant, run_id] = run
        return run

    async def _plan_of(self, run: Pinned) -> Plan:
        plan = self._plans.get((run.tenant, run.tag, run.version))
        if plan is None:
            stored = await self._repository.get(run.tenant, run.tag, run.version)
            assert stored is not None, "versions are never deleted"
            plan = self._plan(run.tenant, stored)
        return plan

    def _plan(self, tenant: str, stored: Stored) -> Plan:
        key = tenant, stored.tag, stored.version
        if key not in self._plans:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            self._plans[key] = plan_of(stored.definition)
        return self._plans[key]


def _needed(part: Any, signal: WorkflowSignal) -> Any:
    if part is None:
        raise RejectedMessage(f"a signal of the kind {signal.kind} says more than that", cause="signal_incomplete")
    return part


def _not_begun(signal: WorkflowSignal, start: WorkStart, reason: str) -> Sequence[Send]:
    """A run that can't begin: the one above is told; where there is none, the record is a dead letter."""
    if start.parent is None:
        raise RejectedMessage("no such workflow, or no such version of it", cause=reason, where="/start")
    return [Send(finished(signal.tenant, start.parent, None, WorkError(type=reason)))]


def _measure(applied: Applied, now_ms: int) -> None:
    for command in applied.commands:
        if isinstance(command, events.End):
            run = applied.run
            WORKFLOWS.labels(command.status).inc()
            WORKFLOW_SECONDS.labels().observe(max(0, now_ms - run.started_ms) / 1_000)
            log.info("workflow_ended", run_id=run.run_id, workflow=run.tag, version=run.version, status=command.status)


_Handler = Callable[[WorkflowProcessor, WorkflowSignal, Context], Awaitable[Sequence[Send]]]
_KINDS: Final[Mapping[str, _Handler]] = {
    "start": WorkflowProcessor._start,
    "finished": WorkflowProcessor._finished,
    "tick": WorkflowProcessor._tick,
    "event": WorkflowProcessor._event,
    "pause": WorkflowProcessor._asked,
    "resume": WorkflowProcessor._asked,
    "cancel": WorkflowProcessor._asked,
    "task": WorkflowProcessor._pass,
}
