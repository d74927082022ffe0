"""Composition of persistence. It brings the schema up to date before it starts; any number of replicas may do so at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from headrace.blobs.settings import open_blobs
from headrace.claims.postgres import PostgresClaims
from headrace.host.component import Component
from headrace.observe.logging import get_logger
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from headrace.pipeline import STAGES
from headrace.postgres.migrate import migrate_when_up
from headrace.postgres.pool import open_pool
from headrace.postgres.repeated import repeated
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings

log = get_logger(__name__)


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    own = PersistenceSettings()
    async with open_pool(settings, service="headrace-persistence") as pool:
        await migrate_when_up(pool)
        blobs = open_blobs(settings, pool)
        processor = PersistenceProcessor(pool, blobs, own)
        claims, window = PostgresClaims(pool), timedelta(hours=own.claim_hours)

        async def forget() -> None:
            if forgotten := await claims.forget(window):
                log.info("claims_forgotten", count=forgotten)

        async with repeated(forget, every_s=own.cleanup_minutes * 60, name="claims", failed="cleanup_failed"):
            yield Worker(STAGES["persistence"], processor, settings, blobs)
        await processor.close()


if __name__ == "__main__":
    from headrace.host.process import main

    main(["persistence"])
