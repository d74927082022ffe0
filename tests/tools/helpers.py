"""Records and surroundings for tests of tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, settings

from headrace.messages.agent import AgentDefinition
from headrace.messages.run import AgentRef, CallRequest, Entry, Progress, RunInfo, ToolCall, ToolCalls, Transcript, Turn
from headrace.runtime.api import Context, Source
from headrace.tools.api import ToolContext, ToolOutput
from headrace.tools.pipeline.rows import Rows
from headrace.tools.pipeline.step import Transform
from headrace.tools.pipeline.table import Table
from headrace.toolspecs import Spec

steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding

CONTEXT = ToolContext(
    tenant="default",
    run_id="run-1",
    agent="triager",
    tools=("execute_pipeline", "echo", "slow", "broken", "huge", "crash", "away"),
    domains=("127.0.0.1",),
    idempotency_key="key-1",
    remaining_s=30.0,
)


def granted(**changes: Any) -> ToolContext:
    return CONTEXT._replace(**changes)


def through(step: Transform, rows: Rows) -> Rows:
    """What a step of a pipeline makes of rows."""
    return step(Table(rows)).rows()


class FakeTool:
    """A tool made of a function."""

    def __init__(
        self,
        name: str,
        function: Callable[[dict[str, Any], ToolContext], Awaitable[Any]],
        *,
        parameters: dict[str, Any] | None = None,
        effect: str = "none",
        timeout_s: float = 5.0,
    ) -> None:
        self.spec = Spec(name, "1.2.3", "a tool of a test", parameters or {"type": "object"}, effect)  # type: ignore[arg-type]
        self.timeout_s = timeout_s
        self._function = function

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutput:
        return ToolOutput(await self._function(arguments, context))


def definition(**changes: Any) -> AgentDefinition:
    base: dict[str, Any] = {
        "name": "triager",
        "version": "1.0.0",
        "category": "test",
        "description": "d",
        "system_prompt": "p",
        "tools": CONTEXT.tools,
        "http_domains": CONTEXT.domains,
    }
    return AgentDefinition.checked(base | changes)


class Definitions:
    def __init__(self, *definitions: AgentDefinition) -> None:
        self._known = {(known.name, known.version): known for known in definitions}

    def get(self, name: str, version: str) -> AgentDefinition | None:
        return self._known.get((name, version))


def call(tool: str, call_id: str = "c1", **changes: Any) -> ToolCall:
    base = {"call_id": call_id, "tool": tool, "tool_version": "1.0.0", "idempotency_key": f"key-{call_id}"}
    return ToolCall.checked(base | changes)


def calls(*asked: ToolCall, deadline_ms: int = 60_000) -> ToolCalls:
    """Tool calls of a run that is in full swing; its deadline is on a clock that begins at 0."""
    agent = AgentRef(name="triager", version="1.0.0", definition_hash="d" * 16, prompt_hash="e" * 16)
    request = tuple(CallRequest(id=each.call_id, name=each.tool, arguments=each.arguments) for each in asked)
    return ToolCalls(
        run=RunInfo(
            tenant="acme",
            run_id="run-1",
            agent=agent,
            model="offline",
            started_ms=0,
            deadline_ms=deadline_ms,
            user_id="u",
        ),
        progress=Progress(step=3, tool_calls=4, tool_ms=50, model_ms=70),
        transcript=Transcript(head="cas://sha256:" + "0" * 64, stored=9, tail=(Entry(role="user", content="hello"),)),
        turns=(Turn(model="offline", tool_calls=request),),
        calls=asked,
    )


def context() -> Context:
    return Context(source=Source("tool.calls", 0, 0), headers={}, timestamp_ms=0)
