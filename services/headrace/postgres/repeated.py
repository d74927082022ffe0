"""Reading the same again and again in the background of a service, also through outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


@asynccontextmanager
async def repeated(
    work: Callable[[], Awaitable[object]], *, every_s: float, name: str, failed: str
) -> AsyncIterator[None]:
    """``work`` at once and then every ``every_s`` seconds, in a task called ``name``, until exit.

    A round that a server's absence ends is logged as the event ``failed``, once for an outage; the next one makes up for it.
    """
    task = asyncio.create_task(_repeat(work, every_s, failed), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _repeat(work: Callable[[], Awaitable[object]], every_s: float, failed: str) -> None:
    failing = False
    while True:
        try:
            await work()
        except HeadraceError as error:
            if not failing:
                log.warning(failed, reason=str(error))
            failing = True
        else:
            failing = False
        await asyncio.sleep(every_s)
