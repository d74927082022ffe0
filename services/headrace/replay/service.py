"""How a rebuild stops and starts the service whose tables it makes again: a port, and the two ways that need no supervisor.

    InThisProcess   nobody else runs it; it runs here until the end is reached
    Elsewhere       somebody else stops it before and starts it afterwards; the group says whether that happened

The third way, the supervisor of ``headrace up``, is ``local.control``'s, and is put in by the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from headrace.host.component import Component
from headrace.host.process import composers
from headrace.messages.errors import FatalError
from headrace.settings import MeshSettings

INSTANCE = "rebuild"  # a slot of its own: the transactional ids of a replica that comes back are not ours to take


class Service(Protocol):
    """The service of the rebuilt group."""

    def stopped(self) -> AbstractAsyncContextManager[None]:
        """Inside, it stands still as far as this port can see to it. Left in whatever way, it may start again."""
        ...

    def running(self) -> AbstractAsyncContextManager[asyncio.Future[None]]:
        """Inside, it works. The future ends if it fails, with the reason."""
        ...


class Elsewhere:
    """A service that others stop and start."""

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        never = asyncio.get_running_loop().create_future()
        yield never
        never.cancel()


class InThisProcess:
    """The service itself, composed here as its own process would compose it."""

    def __init__(self, name: str, settings: MeshSettings) -> None:
        self._name = name
        self._settings = settings.model_copy(update={"instance": INSTANCE})

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        (compose,) = composers([self._name])
        async with compose(self._settings) as component:
            await component.start()
            ended = asyncio.ensure_future(_ended(component))
            try:
                yield ended
            finally:
                ended.cancel()
                await asyncio.gather(ended, return_exceptions=True)
                await component.stop()


async def _ended(component: Component) -> None:
    await component.wait()
    raise FatalError(f"{component.name} ended before the rebuild did")
