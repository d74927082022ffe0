"""Composition of audit: its processor, and the blob store that large records are read from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.audit.heads import Heads
from headrace.audit.processor import AuditProcessor
from headrace.audit.settings import AuditSettings
from headrace.blobs.settings import open_blobs
from headrace.host.component import Component
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.runtime.engine import Bounds
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    bounds = Bounds(max_queued=AuditSettings().max_queued)
    async with open_pool(settings, service="headrace-audit") as pool:
        processor = AuditProcessor(Heads(settings), settings.tenant)
        yield Worker(STAGES["audit"], processor, settings, open_blobs(settings, pool), bounds=bounds)


if __name__ == "__main__":
    from headrace.host.process import main

    main(["audit"])
