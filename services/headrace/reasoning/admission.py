"""Admission: decided once, at a job's first step. Who runs, which version, on which model, until when; or why not.

The order is: seen before, agent and version, model, input, then the gates. A gate is one more condition behind the
same port (policy, budget, session, concurrency); it sees a run that is admissible otherwise.

What needs a question to Postgres (``ledger``: was the job seen before?) is asked for many jobs at once, as they are received.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.messages.agent import AgentDefinition, Limits
from headrace.messages.headers import REPLY_TO
from headrace.messages.job import Job
from headrace.messages.result import ResultError
from headrace.messages.run import AgentRef, RunInfo
from headrace.models import ModelError
from headrace.observe.logging import get_logger
from headrace.reasoning.agents import Agent, Agents
from headrace.reasoning.failures import model_error
from headrace.reasoning.ledger import Asked, Ledger, Verdict
from headrace.reasoning.structured import violations
from headrace.registry.schemas import InvalidSchema
from headrace.runtime.api import Context

log = get_logger(__name__)

NO_MODEL = "none"  # of a run that never came to one


@dataclass(frozen=True, slots=True)
class Admitted:
    run: RunInfo
    agent: Agent


@dataclass(frozen=True, slots=True)
class Refused:
    """The run ends before it began, with this error."""

    run: RunInfo
    error: ResultError


@dataclass(frozen=True, slots=True)
class Skipped:
    """Not a new run: nothing comes of this record."""

    reason: str


Decision = Admitted | Refused | Skipped


class Admission(Protocol):
    """Raises ``DependencyUnavailable`` while what it needs is away."""

    async def seen_all(self, jobs: Sequence[tuple[Job, Context]]) -> Sequence[Verdict | Exception]:
        """Of each job whether it was seen before, or the error that this one met."""
        ...

    async def seen_named(self, asked: Sequence[Asked]) -> Sequence[Verdict | Exception]:
        """The same of jobs that are known by name and place only."""
        ...

    async def admit(self, job: Job, context: Context, seen: Verdict) -> Decision: ...


class Gate(Protocol):
    """One more condition; the error that refuses the run, or None."""

    async def check(self, job: Job, admitted: Admitted) -> ResultError | None: ...


class Equipment(Protocol):
    """What a run is offered beside its agent's own tools."""

    async def ref_for(self, run: RunInfo, definition: AgentDefinition) -> str | None:
        """The blob that has it; None for nothing. Raises ``DependencyUnavailable``."""
        ...


ResolveModel = Callable[[str], str]
"""A definition's model spec to ``provider:name``. Raises ``ModelError``."""


class CatalogAdmission:
    """The admission of this mesh: ledger, catalogue, model, input schema, gates."""

    def __init__(
        self,
        agents: Agents,
        ledger: Ledger,
        resolve_model: ResolveModel,
        gates: Sequence[Gate] = (),
        toolsets: Equipment | None = None,
    ) -> None:
        self._agents = agents
        self._ledger = ledger
        self._resolve_model = resolve_model
        self._gates = tuple(gates)
        self._toolsets = toolsets

    async def seen_all(self, jobs: Sequence[tuple[Job, Context]]) -> Sequence[Verdict | Exception]:
        return await self.seen_named([Asked(job.tenant, job.job_id, context.position) for job, context in jobs])

    async def seen_named(self, asked: Sequence[Asked]) -> Sequence[Verdict | Exception]:
        return await self._ledger.begin_all(asked)

    async def admit(self, job: Job, context: Context, seen: Verdict) -> Decision:
        if seen != "new":
            place = str(context.source)
            log.info("job_skipped", reason=seen, run_id=job.job_id, user_id=job.user_id, position=place)
            return Skipped(seen)
        decision = self._resolve(job, context)
        if self._gates and isinstance(decision, Admitted):
            decision = await self._gated(job, decision)
        if self._toolsets is not None and isinstance(decision, Admitted):
            return await _equipped(decision, self._toolsets)
        return decision

    async def _gated(self, job: Job, admitted: Admitted) -> Admitted | Refused:
        for gate in self._gates:
            if error := await gate.check(job, admitted):
                return Refused(admitted.run, error)
        return admitted

    def _resolve(self, job: Job, context: Context) -> Decision:
        """Agent, model and input, without I/O."""
        asked = f"{job.agent}@{job.agent_version}" if job.agent_version else job.agent
        try:
            agent = self._agents.find(job.agent, job.agent_version, job.canary_key)
        except InvalidSchema as error:
            return self._refuse(job, context, "invalid_definition", f"agent {asked}: {error}")
        if agent is None:
            return self._refuse(job, context, "unknown_agent", f"no agent {asked}")
        try:
            model = self._resolve_model(agent.definition.model)
        except ModelError as error:
            return Refused(run_info(job, context, agent.ref, NO_MODEL, agent.definition.limits), model_error(error))
        if found := _input_violations(agent, job.input):
            return self._refuse(job, context, "invalid_input", "; ".join(found), agent)
        limits = agent.definition.limits
        return Admitted(run_info(job, context, agent.ref, model, limits), agent)

    def _refuse(self, job: Job, context: Context, type_: str, message: str, agent: Agent | None = None) -> Refused:
        nobody = AgentRef(name=job.agent, version=job.agent_version or "", definition_hash="", prompt_hash="")
        ref = agent.ref if agent else nobody
        limits = agent.definition.limits if agent else Limits()
        return Refused(run_info(job, context, ref, NO_MODEL, limits), ResultError(type=type_, message=message[:1_000]))


async def _equipped(admitted: Admitted, toolsets: Equipment) -> Admitted:
    """With what the run is offered beside its agent's tools, if that is anything."""
    ref = await toolsets.ref_for(admitted.run, admitted.agent.definition)
    return Admitted(admitted.run.replace(toolset_ref=ref), admitted.agent) if ref else admitted


def run_info(job: Job, context: Context, agent: AgentRef, model: str, limits: Limits) -> RunInfo:
    """What never changes during the run. Its clock starts at the job record's timestamp."""
    event = job.event
    return RunInfo(
        tenant=job.tenant,
        run_id=job.job_id,
        agent=agent,
        model=model,
        started_ms=context.timestamp_ms,
        deadline_ms=deadline_ms(job, context, limits),
        workflow_run_id=job.run_id,
        node_id=job.node_id,
        user_id=job.user_id,
        session_id=job.context.session_id,
        event_uid=event.uid if event else None,
        event_type=event.type if event else None,
        event_source=event.source if event else None,
        replay_id=job.replay_id,
        stream_tokens=job.stream_tokens,
        family=job.family,
        forked_from=job.fork.origin if job.fork else None,
        reply_to=job.reply_to or context.headers.get(REPLY_TO),
    )


def deadline_ms(job: Job, context: Context, limits: Limits) -> int:
    """When the run has to have ended: the shorter of ``timeout_sec`` and the agent's own limit, from the job record on."""
    return context.timestamp_ms + int(min(job.timeout_sec, limits.timeout_s) * 1000)


def _input_violations(agent: Agent, value: Any) -> list[str]:
    """A job that brings a prompt or an event only has no input to check: the schema is about ``input``."""
    if value is None or agent.input_validator is None:
        return []
    return violations(agent.input_validator, value)
