"""Doing the same again and again in the background of a service, also through outages: reading, sweeping, forgetting, clocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger

log = get_logger(__name__)


@asynccontextmanager
async def repeated(
    work: Callable[[], Awaitable[object]], *, every_s: float, name: str, failed: str, full: int | None = None
) -> AsyncIterator[None]:
    """``work`` at once and then every ``every_s`` seconds, in a task called ``name``, until exit.

    A round that a server's absence ends is logged as the event ``failed``, once for an outage, and so is the outage's end; the next
    round makes up for it. Where ``work`` gives how much it did, and that is ``full`` or more, the next round is at once.
    """
    task = asyncio.create_task(_repeat(work, every_s, name, failed, full), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _repeat(
    work: Callable[[], Awaitable[object]], every_s: float, name: str, failed: str, full: int | None
) -> None:
    failing = False
    while True:
        done: object = None
        try:
            done = await work()
        except HeadraceError as error:
            if not failing:
                log.warning(failed, reason=str(error))
            failing = True
        else:
            if failing:
                log.info("outage_over", task=name)
            failing = False
        if full is None or not isinstance(done, int) or done < full:
            await asyncio.sleep(every_s)
