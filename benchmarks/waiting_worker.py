"""Reasoning and tools in one process whose model and tool are waits inside it: the runtime and the agent loop, and no HTTP client.

    python -m benchmarks.waiting_worker --model-ms 0 --tool-ms 0 [--in-flight 1000] [--calls FILE]

All else is what a user runs: claims, index, blobs, schemas, metrics, limits. Runs until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import uvloop
from benchmarks.peerkit.work import CallLog

from headrace.blobs.settings import open_blobs
from headrace.claims.postgres import PostgresClaims
from headrace.host.component import Component
from headrace.host.memory import settle_memory
from headrace.host.ops import Ops, server
from headrace.messages.base import JsonObject
from headrace.messages.run import CallRequest, Usage
from headrace.models import ModelReply, ModelRequest
from headrace.models.resolve import Models
from headrace.models.settings import ModelSettings
from headrace.observe import logging as logs
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.reasoning.__main__ import now_ms
from headrace.reasoning.admission import CatalogAdmission
from headrace.reasoning.agents import Agents
from headrace.reasoning.cache import BlobCache
from headrace.reasoning.execution import Tools
from headrace.reasoning.ledger import ClaimedRuns, PostgresEnded
from headrace.reasoning.processor import ReasoningProcessor
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.transcript import Transcripts
from headrace.registry.follow import followed_catalog
from headrace.runtime.engine import Bounds
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from headrace.tools.api import ToolContext, ToolOutput
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.settings import ToolsSettings
from headrace.toolspecs import SPECS

TOOL = "execute_pipeline"
ARGUMENTS: JsonObject = {
    "session_id": "bench",
    "pipeline": [{"step": "http_request", "url": "http://127.0.0.1/flights"}, {"step": "top_k", "k": 2}],
}


class WaitingModel:
    """Asks for the tool once, then answers."""

    def __init__(self, seconds: float, log: CallLog) -> None:
        self._seconds = seconds
        self._log = log

    async def complete(self, request: ModelRequest) -> ModelReply:
        answered = any(entry.role == "tool" for entry in request.entries)
        invocation = (request.entries[0].content or "").split(" ", 1)[0]  # the prompt begins with it
        with self._log.call(invocation, 2 if answered else 1):
            if self._seconds:
                await asyncio.sleep(self._seconds)
        usage = Usage(input_tokens=300, output_tokens=40, cost_usd=0.0, model_calls=1)
        if answered:
            return ModelReply(
                text="C and B are the cheapest", tool_calls=(), usage=usage, model=request.model, stop_reason="end_turn"
            )
        calls = (CallRequest(id="call-1", name=TOOL, arguments=ARGUMENTS),)
        return ModelReply(text="", tool_calls=calls, usage=usage, model=request.model, stop_reason="tool_use")

    async def close(self) -> None:
        pass


class WaitingTool:
    spec = SPECS[TOOL]
    timeout_s = 60.0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return ToolOutput({"rows": [{"flight": "C", "price": 99}, {"flight": "B", "price": 120}]})


@contextlib.asynccontextmanager
async def composed(
    settings: MeshSettings, model_s: float, tool_s: float, in_flight: int, log: CallLog
) -> AsyncIterator[list[Component]]:
    own, bounds = ReasoningSettings(), Bounds(max_in_flight=in_flight)
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings, service="headrace-bench"))
        store = open_blobs(settings, pool)
        models = Models(ModelSettings(), adapters={"openai": lambda _: WaitingModel(model_s, log)})
        catalog = await stack.enter_async_context(followed_catalog(settings))
        agents, blobs = Agents(catalog, SPECS), BlobCache(store, own.cache_bytes)
        tools = Tools(models, blobs, Transcripts(blobs), SPECS, own, now_ms)
        claims = PostgresClaims(pool)
        stack.push_async_callback(claims.close)
        ledger = ClaimedRuns(claims, PostgresEnded(pool))
        reasoning = ReasoningProcessor(tools, agents, CatalogAdmission(agents, ledger, models.resolve))
        calling = ToolsProcessor(ToolRegistry([WaitingTool(tool_s)]), store, catalog, ToolsSettings())
        yield [
            Worker(STAGES["reasoning"], reasoning, settings, store, bounds=bounds),
            Worker(STAGES["tools"], calling, settings, store, bounds=bounds),
        ]


async def serve(options: argparse.Namespace) -> None:
    settings = MeshSettings()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    waits = options.model_ms / 1000, options.tool_ms / 1000
    async with composed(settings, *waits, options.in_flight, CallLog(options.calls)) as components:
        ops = server(Ops(["reasoning", "tools"], components), settings.ops_host, settings.ops_port)
        serving = asyncio.create_task(ops.serve())
        for component in components:
            await component.start()
        settle_memory()
        await stop.wait()
        await asyncio.gather(*(component.stop() for component in components))
        ops.should_exit = True
        await serving


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model-ms", type=int, default=0)
    arguments.add_argument("--tool-ms", type=int, default=0)
    arguments.add_argument("--in-flight", type=int, default=1_000)
    arguments.add_argument("--calls", default="", help="note there each model call that starts and that finishes")
    options = arguments.parse_args()
    logs.configure("warning", service="bench")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()
