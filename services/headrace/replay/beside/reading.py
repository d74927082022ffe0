"""Persistence once more, beside the live one: the same code, a consumer group of its own, tables in another schema.

Blobs are shared, since they are named by their content. Nothing is cleaned up here, and no claim is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.blobs.settings import open_blobs
from headrace.messages.errors import FatalError
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from headrace.pipeline import STAGES, Stage
from headrace.postgres.pool import open_pool
from headrace.replay.beside.tables import Place
from headrace.replay.service import INSTANCE
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings


class BesideStage(Stage):
    """Its group is ``headrace.persistence.beside-NAME``. What it can't read it dead-letters as persistence does."""

    __slots__ = ()

    @property
    def dead_letters(self) -> str:
        return STAGES["persistence"].dead_letters


def beside_stage(place: Place) -> Stage:
    live = STAGES["persistence"]
    return BesideStage(f"{live.service}.beside-{place.name}", live.consumes, unhurried=True)


class BesideService:
    """The ``Service`` of that stage: nobody else runs it."""

    def __init__(self, settings: MeshSettings, place: Place) -> None:
        self._settings = settings.model_copy(update={"instance": INSTANCE})
        self._place = place

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        async with open_pool(self._settings, service="headrace-replay", search_path=self._place.path) as pool:
            blobs = open_blobs(self._settings, pool)
            processor = PersistenceProcessor(pool, blobs, PersistenceSettings())
            worker = Worker(beside_stage(self._place), processor, self._settings, blobs)
            await worker.start()
            ended = asyncio.ensure_future(_ended(worker))
            try:
                yield ended
            finally:
                ended.cancel()
                await asyncio.gather(ended, return_exceptions=True)
                await worker.stop()
                await processor.close()


async def _ended(worker: Worker) -> None:
    await worker.wait()
    raise FatalError("the reading beside ended before the topics did")
