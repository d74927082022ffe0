"""One stretch of a run: from the record that came in to the record that goes out.

It feeds the machine one event, carries out the commands, and goes on while they ask the model. All I/O of a run is
here (blobs and the model); no decision is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec

from headrace.blobs import BlobStore
from headrace.budgets.spending import BudgetExhausted
from headrace.control.cancellations import CancelledRuns
from headrace.messages.base import JsonObject
from headrace.messages.result import AgentResult
from headrace.messages.run import Entry, ToolCalls, Transcript
from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.reasoning.agents import Agent, as_seen
from headrace.reasoning.budgeted import Budgets, NoBudgets, amount_of, estimate, spender_of
from headrace.reasoning.calls import calls_record
from headrace.reasoning.failures import blamed, model_error
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.frameworks import Turn as FrameworkTurn
from headrace.reasoning.limits import output_tokens_left
from headrace.reasoning.machine import (
    AskModel,
    CancelAsked,
    EmitCalls,
    EmitResult,
    Event,
    Expired,
    IllegalEvent,
    ModelFailed,
    Remember,
    State,
    advance,
)
from headrace.reasoning.prompt import facts_of, fenced
from headrace.reasoning.results import result_record, summaries
from headrace.reasoning.session_turn import session_turn
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.telling import Tell, Telling
from headrace.reasoning.toolsets import specs_of
from headrace.reasoning.transcript import Transcripts
from headrace.reasoning.turns import meaning, turn_of
from headrace.runtime.within import TimeIsUp, within
from headrace.toolspecs import Spec

_NEEDS_FACTS = "offline"
_WHOLE = 2**31  # characters: no cut


class ModelPort(Protocol):
    """``models.resolve.Models``: any model by its resolved spec. Raises ``ModelError``."""

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What every execution of this process shares. ``clock`` gives epoch milliseconds; ``cancelled`` runs have to end.
    ``tell`` takes what models write while they write, of runs that were asked for so; ``budgets`` are asked before each model call.
    """

    models: ModelPort
    blobs: BlobStore
    transcripts: Transcripts
    specs: Mapping[str, Spec]
    settings: ReasoningSettings
    clock: Callable[[], int]
    cancelled: CancelledRuns = field(default_factory=CancelledRuns)
    tell: Tell | None = None
    budgets: Budgets = field(default_factory=NoBudgets)
    frameworks: Frameworks = field(default_factory=Frameworks)


@dataclass(slots=True)
class Execution:
    """``entries`` is the whole conversation, ``transcript`` the same as records carry it.

    ``replies`` holds every reply of this stretch in order; those that are there at the start (an earlier attempt paid
    for them) are taken before the model is asked.
    """

    tools: Tools
    agent: Agent | None
    state: State
    transcript: Transcript = field(default_factory=Transcript)
    entries: tuple[Entry, ...] = ()
    replies: list[ModelReply] = field(default_factory=list)
    _taken: int = 0

    async def run(self, event: Event) -> ToolCalls | AgentResult:
        """Go on from ``event`` until a record is due."""
        following: Event | None = event
        while following is not None:
            self.state, commands = advance(self.state, following)
            following = None
            for command in commands:
                match command:
                    case Remember(entries):
                        await self._remember(entries)
                    case AskModel():
                        following = await self._ask()
                    case EmitCalls(requests):
                        state = self.state
                        carried = await self.tools.transcripts.settle(self.transcript)
                        specs = await self._specs()
                        return calls_record(state.run, state.progress, carried, state.turns, requests, specs)
                    case EmitResult():
                        return await self._result(command)
        raise IllegalEvent(f"nothing to do in phase {self.state.phase}")

    async def _remember(self, entries: tuple[Entry, ...]) -> None:
        self.transcript = await self.tools.transcripts.append(self.transcript, entries)
        self.entries = (*self.entries, *entries)

    async def _ask(self) -> Event:
        """One model turn as an event. The reply is kept before anything else can fail."""
        assert self.agent is not None, "a run without an agent is refused before it asks"
        if self._taken == len(self.replies) and self._is_cancelled():  # what is paid for is taken first
            return CancelAsked(self.tools.clock())
        try:
            reply = await self._reply(self.agent)
        except TimeIsUp:
            if self._is_cancelled():
                return CancelAsked(self.tools.clock())
            return Expired(max(self.tools.clock(), self.state.run.deadline_ms))
        except BudgetExhausted as refusal:
            return ModelFailed(self.tools.clock(), refusal.error)
        except ModelError as error:
            now_ms = self.tools.clock()
            late = now_ms >= self.state.run.deadline_ms
            return Expired(now_ms) if late else ModelFailed(now_ms, model_error(error))
        now_ms = self.tools.clock()
        turn = turn_of(reply, self.state.progress.step + 1)
        packed = await self.tools.transcripts.pack_turn(turn)
        return meaning(turn, packed, self.agent.output_validator, now_ms)

    async def _reply(self, agent: Agent) -> ModelReply:
        if self._taken == len(self.replies):
            seconds = max(0.001, (self.state.run.deadline_ms - self.tools.clock()) / 1000)
            request = await self._request(agent, min(seconds, self.tools.settings.model_timeout_s))
            self.replies.append(await self._paid(agent, request, seconds))
        reply = self.replies[self._taken]
        self._taken += 1
        return reply

    async def _told(self, agent: Agent, request: ModelRequest, seconds: float) -> ModelReply:
        """The reply; what it says is told as it comes, where that was asked for."""
        if self.tools.tell is None or not self.state.run.stream_tokens:
            return await self._complete(agent, request, seconds)
        telling = Telling(self.tools.tell, self.state.run, self.state.progress.step + 1)
        try:
            return await self._complete(agent, request._replace(on_text=telling), seconds)
        finally:
            telling.close()

    async def _paid(self, agent: Agent, request: ModelRequest, seconds: float) -> ModelReply:
        """A model call within the budgets: reserved before, settled after. Raises ``BudgetExhausted`` before it is made."""
        run, used, budgets = self.state.run, self.state.progress.usage, self.tools.budgets
        reservation = await budgets.reserve(spender_of(run), amount_of(used), lambda: estimate(run.model, request))
        try:
            reply = await self._told(agent, request, seconds)
        except BaseException:
            budgets.cancel(reservation)
            raise
        budgets.settle(reservation, run.run_id, used.plus(reply.usage).model_calls, amount_of(reply.usage))
        return reply

    async def _complete(self, agent: Agent, request: ModelRequest, seconds: float) -> ModelReply:
        """The adapter keeps to its own timeout; this one holds it to the deadline whatever it does, and ends it if the run is
        cancelled.
        """
        run, models = self.state.run, self.tools.models
        if agent.definition.runtime == "native":
            return await within(seconds, models.complete(run.model, request), self._watch)
        turn = FrameworkTurn(agent.definition, run, request, partial(models.complete, run.model))
        return await within(seconds, self.tools.frameworks.take(turn), self._watch)

    def _is_cancelled(self) -> bool:
        return self._name in self.tools.cancelled

    def _watch(self, stop: Callable[[], None]) -> Callable[[], None]:
        return self.tools.cancelled.watch(self._name, stop)

    @property
    def _name(self) -> tuple[str, str]:
        return self.state.run.tenant, self.state.run.run_id

    async def _request(self, agent: Agent, timeout_s: float) -> ModelRequest:
        transcripts, run = self.tools.transcripts, self.state.run
        facts: JsonObject = {}
        entries = await transcripts.resolve(self.entries, max_chars=self.tools.settings.view_chars)
        if offline := run.model.startswith(_NEEDS_FACTS):  # rules read JSON, and follow nothing
            at = run.session.stored if run.session else 0
            first = await transcripts.resolve(self.entries[at : at + 1], max_chars=_WHOLE)
            facts = facts_of(run, first[0].content or "")
        return ModelRequest(
            model=run.model.partition(":")[2] or run.model,
            system=agent.system,
            entries=tuple(map(fenced, entries)) if not offline else entries,
            tools=(*agent.tools, *map(as_seen, await self._offered())),
            output_schema=agent.output_schema,
            max_output_tokens=output_tokens_left(self.state.limits, self.state.progress),
            timeout_s=timeout_s,
            facts=facts,
        )

    async def _offered(self) -> tuple[Spec, ...]:
        return await specs_of(self.state.run.toolset_ref, self.tools.blobs)

    async def _specs(self) -> Mapping[str, Spec]:
        """Every tool that this run may have been told of."""
        offered = await self._offered()
        return {**self.tools.specs, **{spec.name: spec for spec in offered}} if offered else self.tools.specs

    async def _result(self, command: EmitResult) -> AgentResult:
        if command.error is not None:
            command = msgspec.structs.replace(command, error=blamed(command.error, self.entries))
        calls = summaries(self.entries)
        session = await session_turn(self.state.run, self.entries, command, self.tools)
        return await result_record(self.state, self.transcript, command, calls, self.tools.blobs, session)
