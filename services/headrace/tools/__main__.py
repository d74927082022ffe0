"""Composition of the tools service: definitions from their table, blobs, the guarded HTTP client, and the tools over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from headrace.blobs import BlobStore
from headrace.blobs.settings import open_blobs
from headrace.egress import EgressSettings, GuardedClient
from headrace.host.component import Component
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.registry.follow import followed_catalog
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from headrace.tools.pipeline.executor import ExecutePipeline, PipelineLimits
from headrace.tools.pipeline.jq.jail import JqLimits
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.settings import ToolsSettings


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start: every agent definition that was published is known before the first call is taken."""
    tools, egress = ToolsSettings(), EgressSettings()
    async with AsyncExitStack() as stack:
        blobs = await _blobs(settings, stack)
        client = await stack.enter_async_context(GuardedClient(egress.policy(), ca_file=egress.ca_file))
        catalog = await stack.enter_async_context(followed_catalog(settings))
        jq = await stack.enter_async_context(JqPool(_jq_limits(tools), size=tools.jq_processes))
        pipelines = ExecutePipeline(client, blobs, jq, _limits(tools))
        registry = ToolRegistry([pipelines], max_output_bytes=tools.max_output_bytes)
        processor = ToolsProcessor(registry, blobs, catalog, tools)
        yield Worker(STAGES["tools"], processor, settings, blobs)


async def _blobs(settings: MeshSettings, stack: AsyncExitStack) -> BlobStore:
    if settings.blob_store != "postgres":
        return open_blobs(settings, None)
    return open_blobs(settings, await stack.enter_async_context(open_pool(settings, service="headrace-tools")))


def _limits(tools: ToolsSettings) -> PipelineLimits:
    return PipelineLimits(
        timeout_s=tools.pipeline_timeout_s,
        max_rows=tools.pipeline_max_rows,
        max_result_bytes=tools.pipeline_max_result_bytes,
        inline_bytes=tools.inline_bytes,
    )


def _jq_limits(tools: ToolsSettings) -> JqLimits:
    return JqLimits(
        wall_s=tools.jq_timeout_s,
        cpu_s=max(1, round(tools.jq_timeout_s / 2)),
        memory_bytes=tools.jq_memory_bytes,
        output_bytes=tools.pipeline_max_result_bytes,
    )


if __name__ == "__main__":
    from headrace.host.process import main

    main(["tools"])
