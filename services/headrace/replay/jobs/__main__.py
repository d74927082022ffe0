"""The process of one job (``child``)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import uvloop

from headrace.control.replays.leases import Leases
from headrace.messages.errors import HeadraceError
from headrace.observe import logging as logs
from headrace.postgres.pool import open_pool
from headrace.replay.jobs.child import Orders
from headrace.replay.jobs.helping import help_with
from headrace.replay.jobs.work import work_on
from headrace.settings import MeshSettings

log = logs.get_logger(__name__)


async def run(orders: Orders, settings: MeshSettings) -> None:
    """Until the job is done, or stdin ends."""
    async with open_pool(settings, min_size=1, max_size=4, service="headrace-replay") as pool:
        if orders.holder is None:
            await _until_stdin_ends(help_with(settings, pool, orders.replay_id))
            return
        leases = Leases(pool, orders.holder, orders.lease_s)
        job = await leases.held(settings.tenant, orders.replay_id)
        if job is None:
            return
        try:
            await _until_stdin_ends(work_on(settings, pool, leases, job))
        finally:
            await leases.release(job)


async def _until_stdin_ends(work: Coroutine[Any, Any, None]) -> None:
    working, gone = asyncio.create_task(work), asyncio.create_task(_stdin_ends())
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _stdin_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1_024):
        pass


def main() -> int:
    """Exit codes: 0 the job needs this process no more, 1 a server was away or the process failed: somebody takes it up."""
    for name in (signal.SIGINT, signal.SIGTERM):  # who started it decides, and tells by closing stdin
        signal.signal(name, signal.SIG_IGN)
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    settings = orders.mesh()
    # Lines of each run are a live service's; what becomes of the job is in its row, and the service says it.
    logs.configure("debug" if settings.log_level == "debug" else "warning", service="replay")
    try:
        uvloop.run(run(orders, settings))
    except HeadraceError as error:
        log.warning("replay_interrupted", replay_id=orders.replay_id, reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
