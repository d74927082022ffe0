"""Forgets old claims, so that their table stays as small as its window. Any number of replicas may do it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Protocol

from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


class Forgetful(Protocol):
    async def forget(self, older_than: timedelta) -> int: ...


@asynccontextmanager
async def janitor(
    claims: Forgetful,
    *,
    window: timedelta,
    every: timedelta,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Cleans up at once and then ``every`` so often, until exit. A failed round is logged; the next one makes up for it."""

    async def run() -> None:
        while True:
            try:
                forgotten = await claims.forget(window)
            except HeadraceError as error:
                log.warning("cleanup_failed", reason=str(error))
            else:
                if forgotten:
                    log.info("claims_forgotten", count=forgotten)
            await sleep(every.total_seconds())

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
