"""A reasoning service without Kafka: the real processor over memory stores, a clock of the test's own, and any model port."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.blobs.memory import MemoryBlobs
from headrace.claims.memory import MemoryClaims
from headrace.control.cancellations import CancelledRuns
from headrace.messages.agent import AgentDefinition, Limits
from headrace.messages.base import Message
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import CallRequest, ToolCalls, ToolOutcome, ToolResults, Usage
from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.reasoning.admission import CatalogAdmission
from headrace.reasoning.agents import Agents
from headrace.reasoning.cache import BlobCache
from headrace.reasoning.execution import ModelPort, Tools
from headrace.reasoning.ledger import Asked, ClaimedRuns
from headrace.reasoning.processor import ReasoningProcessor
from headrace.reasoning.sessions import Sessions
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.telling import Tell
from headrace.reasoning.toolsets import Toolsets
from headrace.reasoning.transcript import Transcripts
from headrace.registry.catalog import catalog_of
from headrace.runtime.api import Context, Send, Source
from headrace.toolspecs import SPECS, Spec

T0 = 1_800_000_000_000  # epoch milliseconds of every first record

VERDICT_SCHEMA = {
    "type": "object",
    "required": ["risk"],
    "additionalProperties": False,
    "properties": {"risk": {"enum": ["low", "high"]}, "note": {"type": "string"}},
}


def definition(**changes: Any) -> AgentDefinition:
    values: dict[str, Any] = {
        "name": "reviewer",
        "version": "1.0.0",
        "category": "test",
        "description": "Reviews.",
        "system_prompt": "You review changes.",
        "model": "openai:sim",
        "tools": ("execute_pipeline",),
        "limits": Limits(),
    }
    return AgentDefinition(**{**values, **changes})


def job(**changes: Any) -> Job:
    return Job(**{"job_id": "job-1", "agent": "reviewer", "prompt": "Review it.", "user_id": "ada", **changes})


def context(topic: str = "agent.jobs", offset: int = 0, timestamp_ms: int = T0) -> Context:
    return Context(Source(topic, 0, offset), {}, timestamp_ms)


def text_reply(text: str | None, **changes: Any) -> ModelReply:
    usage = Usage(input_tokens=100, output_tokens=10, cost_usd=0.001, model_calls=1)
    return ModelReply(**{"text": text, "tool_calls": (), "usage": usage, "model": "openai:sim-1", **changes})


def calls_reply(*arguments: dict[str, Any], text: str | None = None, **changes: Any) -> ModelReply:
    requests = tuple(CallRequest(id="same", name="execute_pipeline", arguments=given) for given in arguments)
    return text_reply(text, tool_calls=requests, **changes)


class ScriptedModel:
    """Answers from a list, in order; an exception in it is raised. ``requests`` is what was asked."""

    def __init__(self, *replies: ModelReply | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[ModelRequest] = []

    def resolve(self, spec: str) -> str:
        return "openai:sim" if spec == "default" else spec

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        self.requests.append(request)
        if not self.replies:
            raise AssertionError("the model was asked more often than the script says")
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


@dataclass
class FinishedRuns:
    runs: set[tuple[str, str]] = field(default_factory=set)

    async def ended_all(self, asked: Sequence[Asked]) -> list[bool]:
        return [(one.tenant, one.run_id) in self.runs for one in asked]


class Bench:
    """``clock_ms`` is the time; ``stores`` survive a new ``Bench`` that is given them."""

    def __init__(
        self,
        model: ModelPort,
        *definitions: AgentDefinition,
        blobs: Any = None,
        claims: MemoryClaims | None = None,
        resolve: Callable[[str], str] | None = None,
        gates: Sequence[Any] = (),
        toolsets: Callable[[Any], Toolsets] | None = None,
        tell: Tell | None = None,
        sessions: Sessions | None = None,
        cancelled: CancelledRuns | None = None,
        specs: Mapping[str, Spec] = SPECS,
        **settings: Any,
    ) -> None:
        self.clock_ms = T0 + 5
        self.catalog = catalog_of(list(definitions) or [definition()])
        self.blobs = blobs if blobs is not None else MemoryBlobs()
        self.claims = claims or MemoryClaims()
        self.finished = FinishedRuns()
        agents = Agents(self.catalog, specs)
        self.transcripts = Transcripts(BlobCache(self.blobs, 2**20))
        self.tools = Tools(
            model,
            self.blobs,
            self.transcripts,
            specs,
            ReasoningSettings(_env_file=None, **settings),
            self.now,
            cancelled or CancelledRuns(),
            tell=tell,
        )
        resolver = resolve or model.resolve  # type: ignore[attr-defined]
        equipment = toolsets(self.blobs) if toolsets else None
        ledger = ClaimedRuns(self.claims, self.finished)
        self.admission = CatalogAdmission(agents, ledger, resolver, gates, equipment)
        self.processor = ReasoningProcessor(self.tools, agents, self.admission, sessions)
        self._offset = 0

    def now(self) -> int:
        return self.clock_ms

    async def start(self, a_job: Job | None = None, at: Context | None = None) -> list[Any]:
        """The messages that come of a job record."""
        return [send.message for send in await self.handle(a_job or job(), at or context())]

    async def handle(self, message: Message, at: Context) -> Sequence[Send]:
        """As the runtime does it: jobs are prepared first."""
        if not isinstance(message, Job):
            return await self.processor.handle(message, at, None)
        (prepared,) = await self.processor.prepare([(message, at)])
        if isinstance(prepared, Exception):
            raise prepared
        return await self.processor.handle(message, at, prepared)

    async def admit(self, a_job: Job, at: Context) -> Any:
        (seen,) = await self.admission.seen_all([(a_job, at)])
        assert not isinstance(seen, Exception)
        return await self.admission.admit(a_job, at, seen)

    async def resume(self, results: ToolResults, at: Context | None = None) -> Any:
        """The one message that comes of a results record."""
        self._offset += 1
        where = at or context("tool.results", self._offset, T0 + self._offset)
        (send,) = await self.handle(results, where)
        return send.message


def answered(calls: ToolCalls, *contents: Any, **changes: Any) -> ToolResults:
    """What the tools service makes of ``calls`` when each call gives the next of ``contents`` (the last one repeats)."""
    outcomes = tuple(
        ToolOutcome(
            call_id=call.call_id,
            tool=call.tool,
            tool_version=call.tool_version,
            status="ok",
            content=contents[min(index, len(contents) - 1)],
            duration_ms=7,
        )
        for index, call in enumerate(calls.calls)
    )
    progress = calls.progress.replace(
        tool_calls=calls.progress.tool_calls + len(outcomes), tool_ms=calls.progress.tool_ms + 7
    )
    values = {"run": calls.run, "progress": progress, "transcript": calls.transcript, "results": outcomes}
    return ToolResults(**{**values, **changes})


def only_result(messages: list[Any]) -> AgentResult:
    (message,) = messages
    assert isinstance(message, AgentResult)
    return message


def only_calls(messages: list[Any]) -> ToolCalls:
    (message,) = messages
    assert isinstance(message, ToolCalls)
    return message


def model_down(kind: str = "overloaded", *, retryable: bool = True) -> ModelError:
    return ModelError("the provider is busy", kind=kind, retryable=retryable, status=529)


def real_now_ms() -> int:
    return time.time_ns() // 1_000_000
