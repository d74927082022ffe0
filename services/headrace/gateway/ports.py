"""What the gateway needs from the rest of the mesh: small ports, injected whole as ``Deps``.

It knows neither Kafka nor Postgres. ``__main__`` fits the real adapters; tests fit recording ones.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from headrace.auth.authenticator import Authenticator
from headrace.blobs import BlobStore
from headrace.claims import Claims
from headrace.control.approvals import QUESTIONS, Question, QuestionPage, QuestionState
from headrace.control.replays.store import Replays
from headrace.forks.plan import Asked, Planned
from headrace.gateway.settings import GatewaySettings
from headrace.gateway.sources.load import WebhookSource
from headrace.history.comparison import Compared
from headrace.history.horizon import Range
from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.messages.budget import Budget
from headrace.messages.wait import Kind
from headrace.registry.pointer import By
from headrace.runtime.api import Send
from headrace.workflows.repository import WorkflowRepository
from headrace.workflows.runs import WorkflowRuns

JsonDict = dict[str, Any]
Check = Callable[[], Awaitable[bool]]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Publisher(Protocol):
    async def publish(self, sends: Sequence[Send], *, timeout_s: float) -> None:
        """All of ``sends`` or none; returns once the broker has acknowledged. Raises ``DependencyUnavailable``."""
        ...


class Catalog(Protocol):
    def live(self, name: str, key: str | None = None) -> AgentDefinition | None: ...

    def pointer(self, name: str) -> AgentRecord | None: ...

    def get(self, name: str, version: str) -> AgentDefinition | None: ...

    def all_live(self) -> list[AgentDefinition]: ...

    def versions(self, name: str) -> list[str]: ...


TOKENS: Final = "tokens"


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One record of a run, as a stream of it shows it. ``type``: job, tool_calls, wait, tool_results, result, or tokens.

    ``step`` is the model turn that it belongs to (0 for the job), ``data`` a JSON-ready summary. ``tokens`` are no part of the run:
    they tell of a turn before its record is there, may be missing, and have no place in its order.
    """

    type: str
    run_id: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    step: int = 0
    data: JsonDict = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first; ``cursor`` (opaque) gives the next page, None at the end."""

    runs: list[JsonDict]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class RunFilters:
    """What a list of runs is narrowed to; None: no matter."""

    agent: str | None = None
    state: str | None = None
    event_type: str | None = None
    session_id: str | None = None
    user_id: str | None = None


class RunReader(Protocol):
    """The index of runs. All methods raise ``DependencyUnavailable`` when the database is away."""

    async def run(self, run_id: str) -> JsonDict | None:
        """``run_id``, ``state`` (pending, running, completed, failed), agent, usage, steps, result: JSON-ready."""
        ...

    async def runs(self, filters: RunFilters, *, limit: int, cursor: str | None) -> RunPage:
        """Raises ``BadMessage`` for a cursor that is not one of ours."""
        ...

    async def ended(self, run_ids: Sequence[str]) -> set[str]:
        """Those of ``run_ids`` that have their result."""
        ...

    async def history(self, run_id: str) -> list[RunEvent]:
        """What is indexed of a run's records, in any order."""
        ...

    async def result(self, result_id: str) -> JsonDict | None:
        """The result ``artifact://<result_id>``: JSON-ready, with ``output`` or ``output_ref``."""
        ...


class Turns(Protocol):
    """At most so many runs of an agent at once, over all gateways. All methods raise ``DependencyUnavailable``."""

    async def take(self, tenant: str, agent: str, run_id: str, *, limit: int, hold_s: float) -> bool:
        """A turn for the run, unless ``limit`` have one. It is over with the run's result, at the latest after ``hold_s``."""
        ...

    async def published(self, tenant: str, run_id: str) -> None:
        """The run's job is durable."""
        ...

    async def agent(self, tenant: str, run_id: str) -> str | None:
        """The agent of a run that has a turn."""
        ...

    async def begun(self, tenant: str, run_id: str) -> bool:
        """Whether a reasoner has taken the run's job."""
        ...


class Forks(Protocol):
    async def plan(self, run_id: str, asked: Asked) -> Planned:
        """The fork of a run, from its records. Raises ``CantFork`` (also ``UnknownRun``), ``BadMessage``,
        ``DependencyUnavailable``.
        """
        ...


class History(Protocol):
    async def compare(self, left: str, right: str) -> Compared:
        """Two runs of the index. Raises ``UnknownRun``, ``BrokenChain``, ``DependencyUnavailable``."""
        ...

    async def horizon(self, agent: str | None, within: Range | None) -> JsonDict:
        """``history.horizon.facts``. Raises ``DependencyUnavailable``."""
        ...


class Cancellations(Protocol):
    async def ask(self, tenant: str, run_id: str) -> None:
        """The run has to end. Raises ``DependencyUnavailable``."""
        ...


class Approvals(Protocol):
    """What waits for somebody's decision, or for whatever ``kinds`` say. All methods raise ``DependencyUnavailable``."""

    async def questions(
        self,
        tenant: str,
        *,
        state: QuestionState | None,
        limit: int,
        cursor: str | None,
        kinds: Collection[Kind] = QUESTIONS,
    ) -> QuestionPage:
        """Raises ``BadMessage`` for a cursor that is not one of ours."""
        ...

    async def question(self, tenant: str, question_id: str, kinds: Collection[Kind] = QUESTIONS) -> Question | None:
        """With the call's arguments, and its outcome once it has one."""
        ...


class Promotion(Protocol):
    """Changes which version of an agent is live; gives the pointer after it. Raises ``CantChange``, ``DependencyUnavailable``."""

    async def promote(
        self, name: str, version: str, who: By, *, percent: float | None, base: int | None
    ) -> AgentRecord: ...

    async def roll_back(self, name: str, who: By, *, base: int | None) -> AgentRecord: ...


class UsageReader(Protocol):
    async def usage(self, *, agent: str | None, since: str, window: str | None) -> JsonDict:
        """``since``, ``until``, ``usage``: JSON-ready. Raises ``BadMessage`` for spans that are none."""
        ...


class SessionReader(Protocol):
    """Sessions as JSON. All methods raise ``DependencyUnavailable`` when the database is away."""

    async def sessions(self, *, limit: int) -> JsonDict: ...

    async def session(self, session_id: str) -> JsonDict | None: ...


class Budgets(Protocol):
    """Budgets of the gateway's tenant. All methods but ``exhausted`` raise ``DependencyUnavailable``."""

    async def exhausted(self, agent: str, session_id: str | None) -> tuple[str, datetime | None] | None:
        """The name of a budget that lets no run of this agent begin now, and when it opens again. None if there is no such, or if
        nobody can tell now: reasoning decides.
        """
        ...

    async def all(self) -> Sequence[Budget]: ...

    async def usage(self, name: str | None) -> list[JsonDict]:
        """The accounts of the present windows: budget, subject, period, limit, spent and held; JSON-ready."""
        ...

    async def put(self, budget: Budget, changed_by: str) -> None: ...

    async def remove(self, name: str, changed_by: str) -> bool:
        """Whether there was such a budget."""
        ...


class Feed(Protocol):
    """Live records of runs, from now on."""

    def subscribe(self, run_id: str, *, tokens: bool = False) -> AbstractAsyncContextManager[AsyncIterator[RunEvent]]:
        """Entering returns once nothing committed later can be missed; it may raise ``DependencyUnavailable``.

        ``tokens``: also what the run's model writes, that of the last minute first.
        """
        ...


@dataclass(frozen=True, slots=True)
class WorkflowStore:
    """Workflows and their runs, in the database."""

    repository: WorkflowRepository
    runs: WorkflowRuns


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything that ``app.create_app`` needs.

    ``catalog_ready`` says whether the catalogue is read: before that an agent that is missing may only be late.
    ``authenticator`` None: the API asks for no credential, which is for loopback. ``workflows``, ``forks``,
    ``history``, ``promotion``, ``replays`` None: their endpoints answer 503.
    ``checks`` are the dependencies that ``/readyz`` names; those in ``required`` decide it, the others only show.
    """

    settings: GatewaySettings
    tenant: str
    sources: Mapping[str, WebhookSource]
    publisher: Publisher
    catalog: Catalog
    catalog_ready: Callable[[], bool]
    index: RunReader
    usage: UsageReader
    sessions: SessionReader
    claims: Claims
    turns: Turns
    cancellations: Cancellations
    approvals: Approvals
    blobs: BlobStore
    feed: Feed
    asyncapi: Callable[[], JsonDict]
    budgets: Budgets
    authenticator: Authenticator | None = None
    workflows: WorkflowStore | None = None
    forks: Forks | None = None
    history: History | None = None
    promotion: Promotion | None = None
    replays: Replays | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    required: frozenset[str] = frozenset({"kafka", "catalogue"})
    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
