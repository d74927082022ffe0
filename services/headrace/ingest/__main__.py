"""Composition of the ingest service: claims and blobs on one pool, agent definitions from their table, the processor over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from headrace.blobs.settings import open_blobs
from headrace.claims.postgres import PostgresClaims
from headrace.host.component import Component
from headrace.ingest.processor import IngestProcessor
from headrace.ingest.settings import IngestSettings
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.registry.follow import followed_catalog
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start: every agent that was published is known before the first delivery is taken."""
    ingest = IngestSettings()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings, service="headrace-ingest"))
        claims = PostgresClaims(pool)
        stack.push_async_callback(claims.close)
        catalog = await stack.enter_async_context(followed_catalog(settings))
        processor = IngestProcessor(claims, catalog, tenant=settings.tenant, settings=ingest)
        yield Worker(STAGES["ingest"], processor, settings, open_blobs(settings, pool))


if __name__ == "__main__":
    from headrace.host.process import main

    main(["ingest"])
