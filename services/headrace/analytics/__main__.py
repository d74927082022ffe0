"""Composition of analytics. It brings the schema up to date before it starts; any number of replicas may do so at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from headrace.analytics.app import AnalyticsService
from headrace.analytics.settings import AnalyticsSettings
from headrace.analytics.store import UsageStore
from headrace.blobs.settings import open_blobs
from headrace.host.component import Component
from headrace.messages.errors import DependencyUnavailable
from headrace.observe.logging import get_logger
from headrace.pipeline import STAGES
from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

log = get_logger(__name__)

_PAUSE_S: Final = 1.0


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    own = AnalyticsSettings()
    stage = STAGES["analytics"]
    async with open_pool(settings, service="headrace-analytics", max_size=4) as pool:
        await _migrated(pool)
        wire = Wire(stage.service, settings, open_blobs(settings, pool), topics={*stage.consumes, *stage.produces})
        try:
            yield AnalyticsService(stage, settings, own, wire, UsageStore(pool))
        finally:
            await wire.close()


async def _migrated(pool: asyncpg.Pool) -> None:
    """Bring the schema up to date, whenever the server comes."""
    while True:
        try:
            await migrate(pool)
        except DependencyUnavailable as error:
            log.warning("migration_waits", reason=str(error))
            await asyncio.sleep(_PAUSE_S)
        else:
            return


if __name__ == "__main__":
    from headrace.host.process import main

    main(["analytics"])
