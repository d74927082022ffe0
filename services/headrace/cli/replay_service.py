"""Who stops and starts the service that a replay is of: the supervisor of `headrace up`, this process, or somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.cli.output import stop
from headrace.cli.target import Target
from headrace.local.control import service_held
from headrace.local.errors import NotRunning
from headrace.local.stack import State
from headrace.local.state import running_state
from headrace.messages.errors import FatalError
from headrace.replay.service import Elsewhere, InThisProcess, Service
from headrace.settings import MeshSettings

_WATCH_S = 0.5


def service_of(data: Path, settings: MeshSettings, group: str, *, run: bool, timeout: float) -> Service:
    """Who runs it: the supervisor of this mesh, this process, or somebody else."""
    supervised = _supervised(data, settings, group)
    if supervised and run:
        raise stop(f"the mesh on {data} runs {group} itself: leave out --run", 2)
    if supervised:
        return Supervised(data, group, timeout)
    return InThisProcess(group, settings) if run else Elsewhere()


def _supervised(data: Path, settings: MeshSettings, group: str) -> bool:
    """Whether a supervisor on this machine runs the service on this very Kafka."""
    try:
        state = Target(data).state()
    except NotRunning:
        return False
    here = state.endpoints is not None and state.endpoints.kafka_bootstrap_servers == settings.kafka_bootstrap_servers
    return here and any(service.name == group for service in state.services)


class Supervised:
    """The service of the mesh that `headrace up` runs on this machine, stopped and started by its supervisor."""

    def __init__(self, data: Path, name: str, timeout: float) -> None:
        self._data = data
        self._name = name
        self._timeout = timeout

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        hold = service_held(self._data, self._name, timeout=self._timeout)
        await asyncio.to_thread(hold.__enter__)
        try:
            yield
        finally:
            hold.__exit__(None, None, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        ended = asyncio.ensure_future(self._given_up())
        try:
            yield ended
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _given_up(self) -> None:
        """Ends when the supervisor has given the service up, or is gone itself."""
        while True:
            service = next(one for one in running_state(self._data).services if one.name == self._name)
            if service.state == State.FAILED:
                raise FatalError(service.error)
            await asyncio.sleep(_WATCH_S)
