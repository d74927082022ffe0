"""Composition of the replay service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.control.replays.leases import Leases
from headrace.host.component import Component
from headrace.postgres.pool import open_pool
from headrace.replay.jobs.service import ReplayService
from headrace.replay.settings import ReplaySettings
from headrace.settings import MeshSettings


@asynccontextmanager
async def compose(settings: MeshSettings) -> AsyncIterator[Component]:
    """The service, ready to start."""
    own = ReplaySettings()
    async with open_pool(settings, service="headrace-replay", max_size=2) as pool:
        yield ReplayService(settings, own, lambda holder: Leases(pool, holder, own.lease_seconds))


if __name__ == "__main__":
    from headrace.host.process import main

    main(["replay"])
