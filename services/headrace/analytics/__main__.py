"""Composition of analytics. It brings the schema up to date before it starts; any number of replicas may do so at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.analytics.app import AnalyticsService
from headrace.analytics.settings import AnalyticsSettings
from headrace.analytics.store import UsageStore
from headrace.blobs.settings import open_blobs
from headrace.host.component import Component
from headrace.pipeline import STAGES
from headrace.postgres.migrate import migrate_when_up
from headrace.postgres.pool import open_pool
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    own = AnalyticsSettings()
    stage = STAGES["analytics"]
    async with open_pool(settings, service="headrace-analytics", max_size=4) as pool:
        await migrate_when_up(pool)
        wire = Wire(stage.service, settings, open_blobs(settings, pool), topics={*stage.consumes, *stage.produces})
        try:
            yield AnalyticsService(stage, settings, own, wire, UsageStore(pool))
        finally:
            await wire.close()


if __name__ == "__main__":
    from headrace.host.process import main

    main(["analytics"])
