"""``tool.results`` + ``agent.jobs`` -> ``tool.calls`` + ``agent.results``.

A job is admitted or refused; tool results bring a run's continuation back. Either way one stretch of the run is
executed and ends in one record. The processor is stateless but for replies that are paid for and not committed
(``paid``) and caches of immutable things. It never sees offsets, and it never calls a tool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import ClassVar

from headrace.blobs.refs import is_ref
from headrace.blobs.tenants import TenantBlobs
from headrace.index.rewound import Over, never_over
from headrace.messages.agent import Limits
from headrace.messages.base import Message
from headrace.messages.errors import BadMessage, FatalError, RejectedMessage, TransientError
from headrace.messages.fork import Taken
from headrace.messages.job import CallAsked, Job
from headrace.messages.result import AgentResult, ResultError
from headrace.messages.run import Entry, RunInfo, ToolCalls, ToolOutcome, ToolResults, Transcript
from headrace.observe.logging import get_logger
from headrace.observe.metrics import AGENT_REQUESTS, AGENT_SECONDS, AGENT_VERSIONS, COST
from headrace.reasoning import direct, replies
from headrace.reasoning.admission import Admission, Admitted, Refused, Skipped
from headrace.reasoning.agents import Agent, Agents
from headrace.reasoning.execution import Execution, Tools
from headrace.reasoning.failures import definition_changed
from headrace.reasoning.forking import as_forked, calls_again
from headrace.reasoning.ledger import Asked, Verdict
from headrace.reasoning.limits import CANCELLED, limits_of
from headrace.reasoning.machine import Event, JobAdmitted, Phase, RunRefused, State, ToolsReturned
from headrace.reasoning.paid import PaidReplies
from headrace.reasoning.prompt import first_entry
from headrace.reasoning.sessions import NoSessions, Sessions, arrivals, policy
from headrace.reasoning.versions import VersionLabels
from headrace.runtime.api import Context, Send

log = get_logger(__name__)

_UNKNOWN_AGENT = "unknown"  # a metric's label never comes from a job
_VERSIONS = VersionLabels()


class ReasoningProcessor:
    """The reasoning stage. Its outputs are a function of the input record, the model's replies and the clock
    readings.
    """

    def __init__(
        self,
        tools: Tools,
        agents: Agents,
        admission: Admission,
        sessions: Sessions | None = None,
        over: Over = never_over,
    ) -> None:
        self._tools = tools
        self._agents = agents
        self._admission = admission
        self._sessions = sessions or NoSessions()
        self._over = over
        self._paid = PaidReplies()

    PREPARES: ClassVar[Collection[str]] = (Job.TOPIC,)

    async def prepare(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Verdict | Exception]:
        """Which jobs are runs of their own; those of sessions take their places. Raises ``DependencyUnavailable``."""
        jobs = [(message, context) for message, context in inputs if isinstance(message, Job)]
        if len(jobs) != len(inputs):
            raise FatalError(f"{Job.TOPIC} gave something that is no job")
        seen = await self._admission.seen_all(jobs)
        await self._sessions.arrive_all(arrivals(jobs, seen, self._agents))
        return seen

    async def refused(self, error: BadMessage, context: Context) -> Sequence[Send]:
        """The result of a job of another major version, once: the dead letter alone tells its sender nothing."""
        if (answer := replies.unsupported(error, context)) is None:
            return []
        result, reply_to = answer
        [seen] = await self._admission.seen_named([Asked(result.tenant, result.job_id, context.position)])
        if isinstance(seen, Exception):
            raise seen
        return replies.sends(result, reply_to, self._tools.settings.reply_topics) if seen == "new" else []

    async def handle(self, message: Message, context: Context, prepared: Verdict | None) -> Sequence[Send]:
        """One record in, one record out (two with a ``reply_to``, none for a duplicate job and for a run that is over).

        Raises:
            RejectedMessage: ``tool_results_mismatch``, or a message that reasoning does not take.
            TransientError: the run's agent version is not in the catalogue yet.
            DependencyUnavailable: blobs are away.
        """
        if isinstance(message, Job) and prepared is not None:
            return await self._start(message, context, prepared)
        if isinstance(message, ToolResults):
            return [] if await self._over(message.run, context) else await self._resume(message, context)
        raise RejectedMessage(f"reasoning does not take {type(message).__name__}")

    async def _start(self, job: Job, context: Context, seen: Verdict) -> Sequence[Send]:
        decision = await self._admission.admit(job, context, seen)
        if isinstance(decision, Admitted) and decision.run.session_id is not None and job.call is None:
            decision = await self._its_turn(job, decision)
        if isinstance(decision, Admitted) and (fork := job.fork) is not None:
            decision = Admitted(as_forked(decision.run, fork), decision.agent)
            if fork.taken is not None:
                return await self._go_on(decision, fork.taken, context)
        now_ms = self._tools.clock()
        event: Event
        match decision:
            case Skipped():
                return []
            case Refused(run, error):
                state, agent = State(Phase.ADMITTED, run, Limits()), None
                event = RunRefused(now_ms, error)
            case Admitted(run) if job.call is not None:
                return await self._call(run, job.call)
            case Admitted(run, agent):
                await self._grant(job)
                state = State(Phase.ADMITTED, run, limits_of(run, agent.definition.limits))
                event = JobAdmitted(now_ms, first_entry(job, run))
        return await self._begin(agent, state, event, context)

    async def _go_on(self, admitted: Admitted, taken: Taken, context: Context) -> Sequence[Send]:
        """Begin a fork in the middle: with the outcomes of a turn, or with those of its calls that have none."""
        run, agent, now_ms = admitted.run, admitted.agent, self._tools.clock()
        log.info("agent_start", **_who(run), agent_version=run.agent.version, model=run.model)
        event: Event = ToolsReturned(now_ms, taken.results)
        if taken.open_calls:
            if (run.tenant, run.run_id) not in self._tools.cancelled:
                return [Send(calls_again(run, taken))]
            event = RunRefused(now_ms, CANCELLED)
        entries = await self._tools.transcripts.load(taken.transcript)
        if not taken.open_calls:
            _require_answers(entries, taken.results)
        state = State(Phase.AWAITING_TOOLS, run, limits_of(run, agent.definition.limits), taken.progress)
        return await self._execute(Execution(self._tools, agent, state, taken.transcript, entries), event, context)

    async def _begin(self, agent: Agent | None, state: State, event: Event, context: Context) -> Sequence[Send]:
        log.info("agent_start", **_who(state.run), agent_version=state.run.agent.version, model=state.run.model)
        found = state.run.session
        transcript = Transcript(head=found.head, stored=found.stored) if found else Transcript()
        entries = await self._tools.transcripts.load(transcript)
        return await self._execute(Execution(self._tools, agent, state, transcript, entries), event, context)

    async def _its_turn(self, job: Job, admitted: Admitted) -> Admitted | Refused:
        """Waits until the run is the next one of its session; it goes on from what it finds there."""
        run, definition = admitted.run, admitted.agent.definition
        found = await self._sessions.begin(run, policy(job, definition), self._tools.clock())
        if isinstance(found, ResultError):
            return Refused(run, found)
        return Admitted(run.replace(session=found), admitted.agent)

    async def _grant(self, job: Job) -> None:
        """What the job hands over, its tenant's tools may read."""
        named = {item.result_ref for item in job.context.previous_results}
        blobs = TenantBlobs(self._tools.blobs, job.tenant)
        await asyncio.gather(*(blobs.grant(ref) for ref in named if ref and is_ref(ref)))

    async def _call(self, run: RunInfo, asked: CallAsked) -> Sequence[Send]:
        """Begin a run that is one tool call."""
        log.info("agent_start", **_who(run), agent_version=run.agent.version, model=run.model)
        if (run.tenant, run.run_id) in self._tools.cancelled:
            return self._end(await direct.cancelled(run, self._tools.clock(), self._tools.blobs), run)
        return [Send(direct.call_of(run, asked, self._tools.specs))]

    def _end(self, result: AgentResult, run: RunInfo) -> Sequence[Send]:
        _measure(result, run)
        return replies.sends(result, run.reply_to, self._tools.settings.reply_topics)

    async def _resume(self, message: ToolResults, context: Context) -> Sequence[Send]:
        run = message.run
        if run.direct:
            return self._end(await direct.result_of(message, self._tools.clock(), self._tools.blobs), run)
        agent = self._agents.find(run.agent.name, run.agent.version)
        if agent is None:
            raise TransientError(f"agent {run.agent.name}@{run.agent.version} is not in the catalogue yet")
        entries = await self._tools.transcripts.load(message.transcript)
        _require_answers(entries, message.results)
        state = State(Phase.AWAITING_TOOLS, run, limits_of(run, agent.definition.limits), message.progress)
        now_ms = self._tools.clock()
        event: Event = ToolsReturned(now_ms, message.results)
        if agent.ref.definition_hash != run.agent.definition_hash:
            event = RunRefused(now_ms, definition_changed(run.agent.name, run.agent.version))
        elif message.cancelled:
            event = RunRefused(now_ms, CANCELLED)
        execution = Execution(self._tools, agent, state, message.transcript, entries)
        return await self._execute(execution, event, context)

    async def _execute(self, execution: Execution, event: Event, context: Context) -> Sequence[Send]:
        position = context.source
        execution.replies = self._paid.take(position)
        try:
            record = await execution.run(event)
        except Exception:
            self._paid.keep(position, execution.replies)
            raise
        if isinstance(record, ToolCalls):
            _measure(record, execution.state.run)
            return [Send(record)]
        return self._end(record, execution.state.run)


def _require_answers(entries: tuple[Entry, ...], results: tuple[ToolOutcome, ...]) -> None:
    """Providers refuse a conversation in which a call has no answer, or an answer no call."""
    asked = [call.id for call in entries[-1].tool_calls] if entries else []
    given = [outcome.call_id for outcome in results]
    if asked != given and sorted(asked) != sorted(given):
        raise RejectedMessage(
            f"{len(given)} outcomes do not answer the {len(asked)} calls of the last turn",
            cause="tool_results_mismatch",
            where="/results",
        )


def _measure(record: ToolCalls | AgentResult, run: RunInfo) -> None:
    """Metrics and log lines of a stretch that is finished."""
    known = bool(run.agent.definition_hash)
    name = run.agent.name if known else _UNKNOWN_AGENT
    COST.labels(run.model, name).inc(sum([turn.usage.cost_usd for turn in record.turns]))
    if isinstance(record, ToolCalls):
        return
    AGENT_REQUESTS.labels(name, record.status).inc()
    version = _VERSIONS.of(name, run.agent.version) if known else _UNKNOWN_AGENT
    AGENT_VERSIONS.labels(name, version, record.status).inc()
    AGENT_SECONDS.labels(name).observe(max(0, record.completed_ms - record.started_ms) / 1000)
    facts = {"steps": record.steps, "tokens": record.usage.total_tokens, "cost_usd": record.usage.cost_usd}
    if record.error is None:
        log.info("agent_complete", **_who(run), **facts)
    else:
        log.warning("agent_error", **_who(run), **facts, error=record.error.type, retryable=record.error.retryable)


def _who(run: RunInfo) -> dict[str, str | None]:
    return {"agent_type": run.agent.name, "user_id": run.user_id, "run_id": run.run_id}
