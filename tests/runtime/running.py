"""A relay worker in this process, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from headrace.runtime.api import ClaimCheck
from headrace.runtime.handling import AnyProcessor
from headrace.runtime.retry import RetryPolicy
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from tests.runtime.relay import STAGE, NoBlobs

FAST_RETRY = RetryPolicy(attempts=4, first_s=0.01, longest_s=0.05)


@asynccontextmanager
async def running(
    settings: MeshSettings, relay: AnyProcessor, *, blobs: ClaimCheck | None = None, **options: object
) -> AsyncIterator[Worker]:
    options = {"retry": FAST_RETRY} | options
    worker = Worker(STAGE, relay, settings, blobs or NoBlobs(), **options)  # type: ignore[arg-type]
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)
