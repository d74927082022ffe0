"""Several processes on one shadow: they share the partitions of its group, and what it has spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import asyncpg

from headrace.control.replays.states import OPEN
from headrace.control.replays.store import Replays
from headrace.replay.jobs.child import Child
from headrace.replay.jobs.shadow import plan_of
from headrace.replay.shadow.job import open_job
from headrace.settings import MeshSettings

_LOOK_S: Final = 1.0


async def help_with(settings: MeshSettings, pool: asyncpg.Pool, replay_id: str) -> None:
    """Work beside the process that leads a shadow, for as long as one does. Raises as ``ShadowJob.run``."""
    table = Replays(pool)
    row = await table.get(settings.tenant, replay_id)
    plan = plan_of(row) if row and row.kind == "shadow" else None
    if plan is None:
        return
    async with open_job(settings, plan, pool) as shadow:
        helping = asyncio.create_task(shadow.help())
        try:
            while (row := await table.get(settings.tenant, replay_id)) and row.holder and row.state in OPEN:
                await asyncio.wait([helping], timeout=_LOOK_S)
                if helping.done():
                    helping.result()
        finally:
            helping.cancel()
            await asyncio.gather(helping, return_exceptions=True)


@asynccontextmanager
async def helped(settings: MeshSettings, replay_id: str, helpers: int, lease_s: float) -> AsyncIterator[None]:
    """With so many further processes, until exit."""
    async with AsyncExitStack() as stack:
        for number in range(1, helpers + 1):
            apart = settings.model_copy(update={"instance": f"{settings.instance}-{number}"})
            child = await Child.start(apart, replay_id, None, lease_s)
            stack.push_async_callback(child.stop)
        yield
