"""Composition of the orchestration service: Postgres, blobs, a publisher for what no record causes, and the parts over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from headrace.blobs.settings import open_blobs
from headrace.host.component import Component
from headrace.kubejobs.settings import KubeSettings
from headrace.orchestration.router import Router
from headrace.orchestration.settings import OrchestrationSettings
from headrace.orchestration.standing import EVERY_S as MEASURE_S
from headrace.orchestration.standing import Standing
from headrace.orchestration.waits.jobs import watched_jobs
from headrace.orchestration.waits.part import Waits
from headrace.orchestration.waits.store import PostgresWaits
from headrace.orchestration.waits.sweep import AT_ONCE, Sweeper
from headrace.orchestration.workflows import running_workflows
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.postgres.repeated import repeated
from headrace.runtime.publisher import Publisher
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from headrace.workflows.forgetting import EVERY_S as FORGET_S
from headrace.workflows.forgetting import Forgetting


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start."""
    own = OrchestrationSettings()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings, service="headrace-orchestration"))
        blobs = open_blobs(settings, pool)
        publisher = Publisher(settings, "orchestration", blobs)
        stack.push_async_callback(publisher.stop)
        await publisher.start()
        await stack.enter_async_context(watched_jobs(KubeSettings(), pool, publisher, every_s=own.sweep_seconds))
        sweeper = Sweeper(pool, publisher, timedelta(hours=own.keep_hours))
        await stack.enter_async_context(
            repeated(sweeper.sweep, every_s=own.sweep_seconds, name="waits-sweep", failed="sweep_failed", full=AT_ONCE)
        )
        waits = Waits(PostgresWaits(pool), blobs, own.inline_bytes)
        standing, forgetting = Standing(pool), Forgetting(pool, timedelta(hours=own.workflows_keep_hours))
        await stack.enter_async_context(
            repeated(standing.measure, every_s=MEASURE_S, name="standing", failed="standing_not_read")
        )
        if own.workflows_keep_hours:
            await stack.enter_async_context(
                repeated(forgetting.forget, every_s=FORGET_S, name="forgetting", failed="forgetting_waits")
            )
        workflows = await stack.enter_async_context(running_workflows(pool, publisher, blobs))
        router = Router([waits, workflows])
        yield Worker(STAGES["orchestration"], router, settings, blobs)


if __name__ == "__main__":
    from headrace.host.process import main

    main(["orchestration"])
