"""Forgets what is past its time, in the background. Any number of replicas may do it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


class Forgetful(Protocol):
    async def sweep(self) -> int: ...


@asynccontextmanager
async def swept(*stores: Forgetful, every_s: float = 600.0) -> AsyncIterator[None]:
    """Sweeps at once and then every so often, until exit. A failed round is logged; the next one makes up for it."""

    async def run() -> None:
        while True:
            try:
                for store in stores:
                    await store.sweep()
            except HeadraceError as error:
                log.warning("sweep_failed", reason=str(error))
            await asyncio.sleep(every_s)

    task = asyncio.create_task(run(), name="toolbox-sweep")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
