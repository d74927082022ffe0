"""``tool.calls`` -> ``tool.results`` or ``run.waits``: run the calls of one model turn side by side, and send the
run's continuation on.

It owns the execution of calls: who may call what, for how long, and what becomes of the outcome. It refuses to know
why a model asked, and what it will make of the answer: run, transcript and progress pass through, but for what the
calls add.

A call whose outcome comes later (``CallParked``) parks the run: what is there and what is pending go out together as
``run.waits``. Calls that come back from a wait bring the outcomes that there are, which are not made again.

Two kinds of failure, never mixed: a call that fails is an outcome for the model to read; a dependency of the mesh
that is away is raised, so that the record is tried again and the run neither fails nor learns of it. A call whose
outcome was not committed may run again; it then carries the same idempotency key.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headrace.blobs import BlobStore
from headrace.blobs.tenants import TenantBlobs
from headrace.index.rewound import Over, never_over
from headrace.messages import strict_json
from headrace.messages.agent import AgentDefinition
from headrace.messages.base import JsonObject, Message
from headrace.messages.errors import BadMessage, FatalError, RejectedMessage, TransientError
from headrace.messages.run import AgentRef, Approval, ToolCall, ToolCalls, ToolOutcome, ToolResults
from headrace.messages.wait import PendingCall
from headrace.observe import metrics, tracing
from headrace.observe.logging import get_logger
from headrace.runtime.api import Context, Send
from headrace.toolbox.naming import PREFIX
from headrace.tools import outcome, parking
from headrace.tools.api import Asked, CallParked, ToolContext, ToolFailure
from headrace.tools.registry import ToolRegistry
from headrace.tools.settings import ToolsSettings

log = get_logger(__name__)
_MAX_ID = 128


class Definitions(Protocol):
    """Agent definitions by name and version; ``registry.catalog.Catalog`` is one."""

    def get(self, name: str, version: str) -> AgentDefinition | None: ...


class ToolsProcessor:
    """``now`` is the wall clock (epoch seconds) that deadlines are in, ``timer`` the clock (seconds) that measures
    durations. Calls of a run for which ``over`` says so are not made.
    """

    def __init__(
        self,
        registry: ToolRegistry,
        blobs: BlobStore,
        definitions: Definitions,
        settings: ToolsSettings,
        *,
        over: Over = never_over,
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._blobs = blobs
        self._definitions = definitions
        self._settings = settings
        self._over = over
        self._now = now
        self._timer = timer

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        if not isinstance(message, ToolCalls):
            raise RejectedMessage("the tools service takes tool calls only", cause="unexpected_message")
        if await self._over(message.run, context):
            return []
        definition = self._definition(message.run.agent)
        started = self._timer()
        done = {result.call_id: result for result in message.results}
        todo = [call for call in message.calls if call.call_id not in done]
        made = await self._run_all(todo, message, definition)
        elapsed = self._milliseconds_since(started)
        done |= {one.call_id: one for one in made if isinstance(one, ToolOutcome)}
        results = tuple(done[call.call_id] for call in message.calls if call.call_id in done)
        if pending := [one for one in made if isinstance(one, PendingCall)]:
            return [Send(parking.parked(message, results, pending, elapsed))]
        return [Send(_results(message, results, elapsed))]

    def _definition(self, agent: AgentRef) -> AgentDefinition:
        """The definition that grants the calls. Reasoning has seen it, so if it isn't here it is on its way."""
        definition = self._definitions.get(agent.name, agent.version)
        if definition is None:
            raise TransientError(f"the definition of agent {agent.name}@{agent.version} is not known here yet")
        return definition

    async def _run_all(
        self, calls: Sequence[ToolCall], message: ToolCalls, definition: AgentDefinition
    ) -> tuple[ToolOutcome | PendingCall, ...]:
        """What came of each of ``calls``. The first failure of the mesh itself cancels the rest and is raised."""
        if len(calls) == 1:
            return (await self._run(calls[0], message, definition),)
        slots = asyncio.Semaphore(self._settings.parallel_calls)

        async def one(call: ToolCall) -> ToolOutcome | PendingCall:
            async with slots:
                return await self._run(call, message, definition)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(call)) for call in calls]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return tuple(task.result() for task in tasks)

    async def _run(self, call: ToolCall, message: ToolCalls, definition: AgentDefinition) -> ToolOutcome | PendingCall:
        if not tracing.enabled():
            return await self._outcome(call, message, definition)
        tool = self._known(call)
        facts = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.call_id[:_MAX_ID],
        }
        with tracing.span(f"execute_tool {tool}", attributes=facts) as span:
            result = await self._outcome(call, message, definition)
            if isinstance(result, ToolOutcome) and result.error is not None:
                tracing.fail(span, result.error.type)
            return result

    async def _outcome(
        self, call: ToolCall, message: ToolCalls, definition: AgentDefinition
    ) -> ToolOutcome | PendingCall:
        started = self._timer()
        version = self._registry.version(call.tool) or call.tool_version
        try:
            arguments = await self._arguments(call)
            approval = parking.approval_of(message, call, arguments)
            tool_context = self._tool_context(Asked(message, definition, call), approval)
            output = await self._registry.run(call.tool, arguments, tool_context)
        except (TransientError, FatalError):
            raise
        except CallParked as parked:
            self._observe(call, f"parked_{parked.kind}", self._milliseconds_since(started))
            return parking.pending(call, arguments, parked)
        except ToolFailure as failure:
            return self._failed(call, message, version, failure, started)
        except Exception as error:
            log.error("tool_crashed", tool=call.tool, run_id=message.run.run_id, **_described(error))
            crash = ToolFailure("internal_error", f"the tool {call.tool[:64]} failed unexpectedly")
            return self._failed(call, message, version, crash, started)
        duration = self._milliseconds_since(started)
        self._observe(call, "ok", duration)
        return await outcome.succeeded(
            call,
            version,
            output.content if message.run.direct else _shown(output.content, arguments, approval),
            duration,
            TenantBlobs(self._blobs, message.run.tenant),
            self._settings.inline_bytes,
            cache_hit=output.cache_hit,
        )

    async def _arguments(self, call: ToolCall) -> JsonObject:
        if call.arguments_ref is None:
            return call.arguments
        try:
            arguments = strict_json.loads(await self._blobs.get(call.arguments_ref))
        except BadMessage as error:
            raise ToolFailure("arguments_unavailable", f"the stored arguments can't be read ({error.cause})") from None
        if not isinstance(arguments, dict):
            raise ToolFailure("invalid_arguments", "/: the arguments are not an object")
        return arguments

    def _tool_context(self, asked: Asked, approval: Approval | None) -> ToolContext:
        message, definition, call = asked
        now = self._now()
        return ToolContext(
            tenant=message.run.tenant,
            run_id=message.run.run_id,
            agent=message.run.agent.name,
            tools=definition.tools,
            domains=definition.http_domains,
            idempotency_key=call.idempotency_key,
            remaining_s=message.run.deadline_ms / 1000 - now,
            approval=parking.standing(definition, call, approval),
            round=message.round,
            approve_by_ms=round((now + parking.approval_timeout_s(definition)) * 1000),
            now_ms=round(now * 1000),
            asked=asked,
            user_id=message.run.user_id,
        )

    def _failed(
        self, call: ToolCall, message: ToolCalls, version: str, failure: ToolFailure, started: float
    ) -> ToolOutcome:
        duration = self._milliseconds_since(started)
        self._observe(call, failure.type, duration)
        log.info("tool_call_failed", tool=call.tool[:64], error_type=failure.type, run_id=message.run.run_id)
        return outcome.failed(call, version, failure, duration)

    def _observe(self, call: ToolCall, result: str, duration_ms: int) -> None:
        tool = self._known(call)
        metrics.TOOL_CALLS.labels(tool, result).inc()
        metrics.TOOL_SECONDS.labels(tool).observe(duration_ms / 1000)

    def _known(self, call: ToolCall) -> str:
        """The tool's name for metrics and spans, which are bounded: a model may ask for anything."""
        if self._registry.version(call.tool):
            return call.tool
        return "composite" if call.tool.startswith(PREFIX) else "unknown"

    def _milliseconds_since(self, started: float) -> int:
        return max(0, round((self._timer() - started) * 1000))


def _described(error: Exception) -> dict[str, str]:
    """Type and place of a bug; its text may quote what the tool was working on, so it stays out of the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error_type": type(error).__name__, "where": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""}


def _shown(content: Any, arguments: JsonObject, approval: Approval | None) -> Any:
    """What a model is to read: if somebody changed the arguments, it has to know. Where there is none, whoever asked for the call
    works on with what the tool gives.
    """
    return {"approved_with": arguments, "result": content} if approval and approval.edited else content


def _results(message: ToolCalls, results: tuple[ToolOutcome, ...], elapsed_ms: int) -> ToolResults:
    progress = message.progress.replace(
        tool_calls=message.progress.tool_calls + len(results),
        tool_ms=message.progress.tool_ms + elapsed_ms,
        cache_hits=message.progress.cache_hits + sum(result.cache_hit for result in results),
    )
    return ToolResults(run=message.run, progress=progress, transcript=message.transcript, results=results)
