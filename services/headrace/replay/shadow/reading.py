"""Misses that are asked of the tools themselves (``--on-miss live-readonly``): only what reads, within all that bounds a live call.

A tool reads if its effect is ``none``, or if it is ``execute_pipeline`` with a pipeline that changes nothing outside, as the
tools service has it for its cache (``toolbox.canonical.has_effects``). The call then goes the way of a live one: the
candidate's allow-list and hosts, its arguments' schema, the guard of outgoing requests, timeouts, bounds, the operator's MCP
servers and their auth profiles. A composite tool is the pipeline that it stands for. What would wait for somebody is a miss.
Tools with effects are not even there, and neither is the memory of pipelines: no result is put into the live cache or taken
from it, and no use is counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from headrace.auth_profiles import AuthProfiles
from headrace.blobs import BlobStore
from headrace.egress import EgressSettings, GuardedClient
from headrace.messages import strict_json
from headrace.messages.errors import BadMessage
from headrace.messages.run import ToolCall, ToolCalls, ToolOutcome, ToolResults
from headrace.runtime.api import Context, Source
from headrace.toolbox.canonical import has_effects
from headrace.toolbox.composites import Composites
from headrace.toolbox.naming import PREFIX
from headrace.toolbox.search import ToolSearch
from headrace.tools.__main__ import jq_limits, pinned, pipeline_limits
from headrace.tools.api import Tool
from headrace.tools.composite import CompositeTools
from headrace.tools.pipeline.executor import ExecutePipeline
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.processor import Definitions, ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.search import SearchTools
from headrace.tools.settings import ToolsSettings
from headrace.toolspecs import Spec
from headrace.toolspecs.execute_pipeline import EXECUTE_PIPELINE


class LiveReads:
    """``specs`` are the tools that ``processor`` has."""

    def __init__(
        self, processor: ToolsProcessor, specs: Mapping[str, Spec], composites: Composites, blobs: BlobStore
    ) -> None:
        self._processor = processor
        self._specs = specs
        self._composites = composites
        self._blobs = blobs

    async def ask(self, calls: ToolCalls, call: ToolCall) -> ToolOutcome | None:
        """The outcome of one of ``calls``, an error's too; None, and nothing is called, if it may do more than read.

        Raises:
            TransientError: the tool is away, and the run has to be tried again.
        """
        if not await self._reads(calls.run.tenant, call):
            return None
        context = Context(Source(calls.run.run_id, 0, calls.progress.step), {}, calls.run.started_ms)
        [send] = await self._processor.handle(calls.replace(calls=(call,), results=()), context)
        if not isinstance(send.message, ToolResults):
            return None  # it waits for somebody's yes
        return send.message.results[0].replace(asked_live=True)

    async def _reads(self, tenant: str, call: ToolCall) -> bool:
        if call.tool.startswith(PREFIX):
            composite = await self._composites.find(tenant, call.tool)
            return composite is not None and composite.state == "promoted" and not has_effects(composite.steps)
        spec = self._specs.get(call.tool)
        return spec is not None and reads(spec, await self._arguments(call))

    async def _arguments(self, call: ToolCall) -> Any:
        if call.arguments_ref is None:
            return call.arguments
        try:
            return strict_json.loads(await self._blobs.get(call.arguments_ref))
        except BadMessage:
            return None


def reads(spec: Spec, arguments: Any) -> bool:
    """Whether a call changes nothing outside. What can't be told counts as an effect."""
    if spec.effect == "none":
        return True
    steps = arguments.get("pipeline") if isinstance(arguments, dict) else None
    if spec.name != EXECUTE_PIPELINE.name or not isinstance(steps, list):
        return False
    return all(isinstance(step, dict) for step in steps) and not has_effects(steps)


@asynccontextmanager
async def live_reads(definitions: Definitions, pool: asyncpg.Pool, blobs: BlobStore) -> AsyncIterator[LiveReads]:
    """As the tools service is composed, with what reads only; settings are those of this process."""
    tools, egress = ToolsSettings(), EgressSettings()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(GuardedClient(egress.policy(), ca_file=egress.ca_file))
        jq = await stack.enter_async_context(JqPool(jq_limits(tools), size=tools.jq_processes))
        theirs = await stack.enter_async_context(pinned(AuthProfiles().auth_profiles))
        pipelines, composites = ExecutePipeline(client, blobs, jq, pipeline_limits(tools)), Composites(pool)
        by_name = CompositeTools(composites, pipelines, max_output_bytes=tools.max_output_bytes)
        own: list[Tool] = [
            pipelines,
            SearchTools(ToolSearch(pool)),
            *(tool for tool in theirs if tool.spec.effect == "none"),
        ]
        registry = ToolRegistry(own, max_output_bytes=tools.max_output_bytes, find=by_name.find)
        specs = {tool.spec.name: tool.spec for tool in own}
        yield LiveReads(ToolsProcessor(registry, blobs, definitions, tools), specs, composites, blobs)
