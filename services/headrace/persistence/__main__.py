"""Composition of persistence. It brings the schema up to date before it starts; any number of replicas may do so at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from headrace.blobs.settings import open_blobs
from headrace.claims.postgres import PostgresClaims
from headrace.host.component import Component
from headrace.persistence.janitor import janitor
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from headrace.pipeline import STAGES
from headrace.postgres.migrate import migrate_when_up
from headrace.postgres.pool import open_pool
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    own = PersistenceSettings()
    async with open_pool(settings, service="headrace-persistence") as pool:
        await migrate_when_up(pool)
        blobs = open_blobs(settings, pool)
        processor = PersistenceProcessor(pool, blobs, own)
        window, every = timedelta(hours=own.claim_hours), timedelta(minutes=own.cleanup_minutes)
        async with janitor(PostgresClaims(pool), window=window, every=every):
            yield Worker(STAGES["persistence"], processor, settings, blobs)
        await processor.close()


if __name__ == "__main__":
    from headrace.host.process import main

    main(["persistence"])
