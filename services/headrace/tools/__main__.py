"""Composition of the tools service: definitions from their table, blobs, the guarded HTTP client, and the tools over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final

from headrace.auth_profiles import AuthProfile, AuthProfiles
from headrace.blobs.settings import open_blobs
from headrace.egress import EgressSettings, GuardedClient
from headrace.host.component import Component
from headrace.index.rewound import Rewound
from headrace.kubejobs.settings import KubeSettings
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.postgres.repeated import repeated
from headrace.registry.follow import followed_catalog
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from headrace.toolbox.cache import PipelineCache
from headrace.toolbox.composites import Composites
from headrace.toolbox.search import ToolSearch
from headrace.toolbox.usage import PipelineUsage
from headrace.tools.api import Tool
from headrace.tools.callbacks import callback_tools
from headrace.tools.composite import CompositeTools
from headrace.tools.delegate.kubernetes import kubernetes_agents
from headrace.tools.delegate.mesh_agent import MeshAgents
from headrace.tools.delegate.tool import DelegateToAgent
from headrace.tools.intents import PostgresIntents
from headrace.tools.openapi.action import ActionLimits, OpenapiAction
from headrace.tools.openapi.specs import SpecLimits
from headrace.tools.pipeline.executor import ExecutePipeline, PipelineLimits
from headrace.tools.pipeline.jq.jail import JqLimits
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.pipeline.remembered import MemoryLimits, RememberedPipelines
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.search import SearchTools
from headrace.tools.settings import ToolsSettings
from headrace.tools.workflow.patch import PatchWorkflow, orchestrator_client
from headrace.tools.workflow.settings import OrchestratorSettings
from headrace.toolspecs.delegate_to_agent import MESH_AGENT
from headrace.toolspecs.pinned import McpSettings

_SWEEP_S: Final = 600.0


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start: every agent definition that was published is known before the first call is taken."""
    tools, egress = ToolsSettings(), EgressSettings()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings, service="headrace-tools"))
        blobs = open_blobs(settings, pool)
        client = await stack.enter_async_context(GuardedClient(egress.policy(), ca_file=egress.ca_file))
        catalog = await stack.enter_async_context(followed_catalog(settings))
        theirs = OrchestratorSettings()
        orchestrator = await stack.enter_async_context(orchestrator_client(theirs.api_url, theirs.api_key))
        cache, usage = PipelineCache(pool), PipelineUsage(pool)
        jq = await stack.enter_async_context(JqPool(jq_limits(tools), size=tools.jq_processes))
        executing = ExecutePipeline(client, blobs, jq, pipeline_limits(tools))
        pipelines = RememberedPipelines(executing, cache, usage, _memory(tools))
        composites = CompositeTools(Composites(pool), pipelines, max_output_bytes=tools.max_output_bytes)
        for name, sweep in (("pipeline-cache", cache.sweep), ("pipeline-usage", usage.sweep)):
            await stack.enter_async_context(repeated(sweep, every_s=_SWEEP_S, name=name, failed="sweep_failed"))
        profiles = AuthProfiles().auth_profiles
        jobs = await stack.enter_async_context(kubernetes_agents(KubeSettings()))
        own: list[Tool] = [
            pipelines,
            SearchTools(ToolSearch(pool)),
            OpenapiAction(client, blobs, profiles, _action_limits(tools)),
            DelegateToAgent({MESH_AGENT: MeshAgents(catalog), **jobs}),
            PatchWorkflow(orchestrator),
            *callback_tools(client, profiles),
        ]
        mcp = await stack.enter_async_context(pinned(profiles))
        registry = ToolRegistry(
            [*own, *mcp],
            max_output_bytes=tools.max_output_bytes,
            intents=PostgresIntents(pool),
            find=composites.find,
        )
        processor = ToolsProcessor(registry, blobs, catalog, tools, over=Rewound(pool))
        yield Worker(STAGES["tools"], processor, settings, blobs)


def pinned(profiles: Mapping[str, AuthProfile]) -> AbstractAsyncContextManager[list[Tool]]:
    """The tools of MCP servers; where none is set up, nothing of the protocol is loaded."""
    settings = McpSettings()
    if settings.servers is None:
        return nullcontext([])
    from headrace.tools.mcp import mcp_tools

    return mcp_tools(settings, profiles)


def pipeline_limits(tools: ToolsSettings) -> PipelineLimits:
    return PipelineLimits(
        timeout_s=tools.pipeline_timeout_s,
        max_rows=tools.pipeline_max_rows,
        max_result_bytes=tools.pipeline_max_result_bytes,
        inline_bytes=tools.inline_bytes,
    )


def jq_limits(tools: ToolsSettings) -> JqLimits:
    return JqLimits(
        wall_s=tools.jq_timeout_s,
        cpu_s=max(1, round(tools.jq_timeout_s / 2)),
        memory_bytes=tools.jq_memory_bytes,
        output_bytes=tools.pipeline_max_result_bytes,
    )


def _memory(tools: ToolsSettings) -> MemoryLimits:
    return MemoryLimits(
        caching=tools.pipeline_cache, ttl_s=tools.pipeline_cache_ttl_s, promote_after=tools.promote_after
    )


def _action_limits(tools: ToolsSettings) -> ActionLimits:
    specs = SpecLimits(max_bytes=tools.openapi_max_spec_bytes, keep_s=tools.openapi_keep_s)
    return ActionLimits(timeout_s=tools.openapi_timeout_s, inline_bytes=tools.inline_bytes, specs=specs)


if __name__ == "__main__":
    from headrace.host.process import main

    main(["tools"])
