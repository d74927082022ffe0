"""The gateway over stand-ins behind its ports, and the senders' side: signing, posting."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx2
from pydantic import SecretStr

from headrace.auth.authenticator import Authenticator
from headrace.blobs.memory import MemoryBlobs
from headrace.claims.memory import MemoryClaims
from headrace.control.approvals import QUESTIONS, Question, QuestionPage, QuestionState
from headrace.gateway.app import create_app
from headrace.gateway.feed import Feeds, Hub, Recall
from headrace.gateway.ports import Deps, RunEvent, RunFilters, RunPage
from headrace.gateway.server import GatewayServer
from headrace.gateway.settings import GatewaySettings
from headrace.gateway.sources.load import load_sources
from headrace.gateway.sources.outbound import Outbound
from headrace.messages import ids
from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.messages.budget import Budget
from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.messages.wait import Kind
from headrace.registry import pointer
from headrace.registry.catalog import catalog_of
from headrace.registry.pointer import By
from headrace.runtime.api import Send

GITHUB_SECRET = "It's a Secret to Everybody"
ALERT_SECRET = "alert-planted-secret"
SECRETS = {
    "HEADRACE_WEBHOOK_SECRET_GITHUB": GITHUB_SECRET,
    "HEADRACE_WEBHOOK_SECRET_ALERTMANAGER": ALERT_SECRET,
}
NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
REVIEWER = AgentDefinition(
    name="pr-reviewer",
    version="1.2.0",
    category="review",
    description="Reviews",
    system_prompt="planted-system-prompt",
    input_schema={
        "type": "object",
        "required": ["title"],
        "properties": {"title": {"type": "string"}, "files": {"type": "array", "items": {"type": "integer"}}},
    },
)


class RecordingPublisher:
    """Keeps what it is given; ``fail`` makes it refuse all of a call, as the real one does."""

    def __init__(self) -> None:
        self.calls: list[list[Send]] = []
        self.fail: Exception | None = None
        self.then: Callable[[], None] = lambda: None  # what comes of it elsewhere

    async def publish(self, sends: Sequence[Send], *, timeout_s: float) -> None:
        if self.fail is not None:
            raise self.fail
        self.calls.append(list(sends))
        self.then()

    @property
    def sends(self) -> list[Send]:
        return [send for call in self.calls for send in call]


@dataclass
class MemoryIndex:
    """The run index in dicts; ``away`` stands for a database that does not answer."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, list[RunEvent]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[RunFilters] = field(default_factory=list)
    away: bool = False

    def _check(self) -> None:
        if self.away:
            raise DependencyUnavailable("planted-database-detail")

    async def run(self, run_id: str) -> dict[str, Any] | None:
        self._check()
        return self.rows.get(run_id)

    async def runs(self, filters: RunFilters, *, limit: int, cursor: str | None) -> RunPage:
        self._check()
        self.asked.append(filters)
        rows = [
            row
            for row in self.rows.values()
            if filters.agent in (None, row["agent_name"]) and filters.state in (None, row["state"])
        ]
        if cursor and not (cursor.isascii() and cursor.isdigit()):
            raise BadMessage("not a cursor", cause="cursor")
        start = int(cursor or 0)
        following = str(start + limit) if len(rows) > start + limit else None
        return RunPage(rows[start : start + limit], following)

    async def ended(self, run_ids: Sequence[str]) -> set[str]:
        self._check()
        return {run_id for run_id in run_ids if self.rows.get(run_id, {}).get("state") in ("completed", "failed")}

    def end(self, run_id: str, agent: str, *, output: Any = None, error: dict[str, Any] | None = None) -> None:
        """The run's result is indexed."""
        state = "failed" if error else "completed"
        name = ids.result_id("acme", run_id)
        row = {"run_id": run_id, "state": state, "agent_name": agent, "user_id": "u-1", "error": error}
        self.rows[run_id] = row if error else row | {"result_url": f"/v1/results/{name}"}
        self.results[name] = {"status": state, "data": output, "error": error}

    async def history(self, run_id: str) -> list[RunEvent]:
        self._check()
        return list(self.steps.get(run_id, ()))

    async def result(self, result_id: str) -> dict[str, Any] | None:
        self._check()
        return self.results.get(result_id)


@dataclass
class MemoryApprovals:
    """Approvals in a dict, of the tenant acme."""

    rows: dict[str, Question] = field(default_factory=dict)

    async def questions(
        self,
        tenant: str,
        *,
        state: QuestionState | None,
        limit: int,
        cursor: str | None,
        kinds: Collection[Kind] = QUESTIONS,
    ) -> QuestionPage:
        found = [
            replace(row, arguments=None)
            for row in self.rows.values()
            if state in (None, row.state) and row.kind in kinds
        ]
        return QuestionPage(found if tenant == "acme" else [], None)

    async def question(self, tenant: str, question_id: str, kinds: Collection[Kind] = QUESTIONS) -> Question | None:
        row = self.rows.get(question_id) if tenant == "acme" else None
        return row if row is not None and row.kind in kinds else None

    def settle(self, said: Any) -> None:
        """As orchestration does it with a decision."""
        state: Any = "approved" if said.decision.verdict == "approve" else "denied"
        for name, row in self.rows.items():
            if (row.run_id, row.call_id) == (said.run_id, said.call_id):
                self.rows[name] = replace(row, state=state, decided_by=said.decision.by)


@dataclass
class MemoryTurns:
    """Turns in a dict: (tenant, run id) -> agent. A test ends them."""

    held: dict[tuple[str, str], str] = field(default_factory=dict)
    taken: list[tuple[str, int, float]] = field(default_factory=list)
    published_runs: list[str] = field(default_factory=list)
    begun_runs: set[str] = field(default_factory=set)

    async def take(self, tenant: str, agent: str, run_id: str, *, limit: int, hold_s: float) -> bool:
        self.taken.append((agent, limit, hold_s))
        free = sum(whose == agent and name[0] == tenant for name, whose in self.held.items()) < limit
        if free:
            self.held[tenant, run_id] = agent
        return free

    async def published(self, tenant: str, run_id: str) -> None:
        self.published_runs.append(run_id)

    async def agent(self, tenant: str, run_id: str) -> str | None:
        return self.held.get((tenant, run_id))

    async def begun(self, tenant: str, run_id: str) -> bool:
        return run_id in self.begun_runs


class MemoryCancellations:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def ask(self, tenant: str, run_id: str) -> None:
        self.asked.append((tenant, run_id))


class MemoryBudgets:
    """Budgets in a dict; ``empty`` names the ones that are exhausted, and when each opens again."""

    def __init__(self) -> None:
        self.budgets: dict[str, Budget] = {}
        self.empty: dict[str, datetime | None] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.changes: list[tuple[str, str]] = []

    async def exhausted(self, agent: str, session_id: str | None) -> tuple[str, datetime | None] | None:
        self.asked.append((agent, session_id))
        return next(iter(self.empty.items()), None)

    async def all(self) -> list[Budget]:
        return list(self.budgets.values())

    async def usage(self, name: str | None) -> list[dict[str, Any]]:
        return [{"budget": found} for found in self.budgets if name in (None, found)]

    async def put(self, budget: Budget, changed_by: str) -> None:
        self.budgets[budget.name] = budget
        self.changes.append((budget.name, changed_by))

    async def remove(self, name: str, changed_by: str) -> bool:
        self.changes.append((name, changed_by))
        return self.budgets.pop(name, None) is not None


class MemoryPromotion:
    """The pure changes over one pointer."""

    def __init__(self, there: AgentRecord) -> None:
        self.there = there
        self.away = False

    async def promote(
        self, name: str, version: str, who: By, *, percent: float | None, base: int | None
    ) -> AgentRecord:
        self._check(name, base)
        there = self.there
        change = pointer.promoted(there, name, version, who) if percent is None else None
        self.there = change or pointer.canary(there, version, percent or 0, who)
        return self.there

    async def roll_back(self, name: str, who: By, *, base: int | None) -> AgentRecord:
        self._check(name, base)
        self.there = pointer.rolled_back(self.there, who)
        return self.there

    def _check(self, name: str, base: int | None) -> None:
        if self.away:
            raise DependencyUnavailable("planted-detail")
        if name != self.there.name:
            raise pointer.UnknownAgent("no such agent")
        pointer.check_revision(self.there, base)


class MemoryUsage:
    """What was asked of the usage index."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def usage(self, *, agent: str | None, since: str, window: str | None) -> dict[str, Any]:
        self.asked.append({"agent": agent, "since": since, "window": window})
        return {"since": "", "until": "", "usage": []}


class MemorySessions:
    """Sessions by id, as a test puts them in."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    async def sessions(self, *, limit: int) -> dict[str, Any]:
        return {"sessions": [{"session_id": name} for name in self.known][:limit]}

    async def session(self, session_id: str) -> dict[str, Any] | None:
        return self.known.get(session_id)


class MemoryTail:
    """A tail that gives what the test puts in."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[RunEvent] = asyncio.Queue()
        self.started = self.stopped = 0

    async def start(self) -> None:
        self.started += 1

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        return self

    async def __anext__(self) -> RunEvent:
        event = await self.queue.get()
        self.queue.task_done()
        return event

    async def stop(self) -> None:
        self.stopped += 1


class Gateway:
    """An application over stand-ins, and a client of it."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        outbound: Outbound | None = None,
        authenticator: Authenticator | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> None:
        self.settings = GatewaySettings(_env_file=None, **{"gateway_port": 0, "gateway_unknown_wait_s": 0, **settings})
        self.publisher = RecordingPublisher()
        self.index = MemoryIndex()
        self.usage = MemoryUsage()
        self.sessions = MemorySessions()
        self.claims = MemoryClaims()
        self.turns = MemoryTurns()
        self.cancellations = MemoryCancellations()
        self.approvals = MemoryApprovals()
        self.budgets = MemoryBudgets()
        self.blobs = MemoryBlobs()
        self.tails: list[MemoryTail] = []
        self.tail_made = asyncio.Event()
        self.hub = Hub(self._make_tail)
        self.written = MemoryTail()
        self.feed = Feeds(self.hub, Hub(lambda _: self.written, Recall()))
        self.checks: dict[str, bool] = {"kafka": True, "catalogue": True, "database": True}
        self.deps = Deps(
            settings=self.settings,
            tenant="acme",
            sources=load_sources(self.settings, SECRETS if environ is None else environ, outbound),
            publisher=self.publisher,
            catalog=catalog_of([REVIEWER]),
            catalog_ready=lambda: self.checks["catalogue"],
            index=self.index,
            usage=self.usage,
            sessions=self.sessions,
            claims=self.claims,
            turns=self.turns,
            cancellations=self.cancellations,
            approvals=self.approvals,
            blobs=self.blobs,
            feed=self.feed,
            asyncapi=lambda: {"asyncapi": "3.0.0"},
            budgets=self.budgets,
            authenticator=authenticator,
            checks={name: self._check(name) for name in self.checks},
            now=lambda: NOW,
            monotonic=monotonic,
        )
        self.app = create_app(self.deps)

    def _make_tail(self, _watched: Callable[[str], bool]) -> MemoryTail:
        self.tails.append(MemoryTail())
        self.tail_made.set()
        return self.tails[-1]

    def _check(self, name: str) -> Callable[[], Any]:
        async def check() -> bool:
            return self.checks[name]

        return check

    def client(self) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://gateway")

    async def post(self, path: str, content: Any, headers: Any = ()) -> httpx2.Response:
        async with self.client() as client:
            return await client.post(path, content=content, headers=headers)

    async def get(self, path: str, **kwargs: Any) -> httpx2.Response:
        async with self.client() as client:
            return await client.get(path, **kwargs)


def signature(body: bytes, secret: str = GITHUB_SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github_headers(body: bytes, *, secret: str = GITHUB_SECRET, event: str = "push", **more: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": signature(body, secret),
        **more,
    }


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error of a refusal, whose shape is always the same."""
    document = response.json()
    assert set(document) == {"error"}
    assert set(document["error"]) <= {"code", "message", "where"}
    assert document["error"]["code"]
    assert document["error"]["message"]
    return dict(document["error"])


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[GatewayServer]:
    """The application on a real port."""
    server = GatewayServer(gateway.app, gateway.settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def secret_list(*secrets: str) -> tuple[SecretStr, ...]:
    return tuple(SecretStr(secret) for secret in secrets)
