"""The live feed: one tail of the run topics, shared by all open streams of this process, and only while there are any.

``Hub`` fans out by run id. It starts its tail with the first subscriber and ends it after the last. A subscriber that does not keep
up is cut off: it comes back with Last-Event-ID and reads on from the index, so memory stays bounded and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from headrace.gateway.ports import RunEvent
from headrace.messages.errors import DependencyUnavailable, HeadraceError
from headrace.observe.logging import get_logger

log = get_logger(__name__)

_QUEUED: Final = 1000


class RunTail(Protocol):
    """Records of runs as they are committed, from the moment that ``start`` returns."""

    async def start(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[RunEvent]: ...

    async def stop(self) -> None: ...


class _Subscriber:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[RunEvent | None] = asyncio.Queue(_QUEUED + 1)
        self._closed = False

    def put(self, event: RunEvent) -> None:
        if self._queue.qsize() >= _QUEUED:
            self.close()
        elif not self._closed:
            self._queue.put_nowait(event)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        return self

    async def __anext__(self) -> RunEvent:
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event


class Hub:
    """``Feed`` over a tail. ``make_tail`` is called for each first subscriber (a tail is used once), with what says whether
    anybody follows a run."""

    def __init__(self, make_tail: Callable[[Callable[[str], bool]], RunTail]) -> None:
        self._make_tail = make_tail
        self._subscribers: dict[str, set[_Subscriber]] = {}
        self._lock = asyncio.Lock()
        self._tail: RunTail | None = None
        self._pump: asyncio.Task[None] | None = None

    def subscribe(self, run_id: str) -> AbstractAsyncContextManager[AsyncIterator[RunEvent]]:
        return self._subscription(run_id)

    @asynccontextmanager
    async def _subscription(self, run_id: str) -> AsyncIterator[AsyncIterator[RunEvent]]:
        subscriber = _Subscriber()
        self._subscribers.setdefault(run_id, set()).add(subscriber)
        try:
            async with self._lock:
                await self._ensure_started()
            yield subscriber
        finally:
            self._remove(run_id, subscriber)
            async with self._lock:
                if not self._subscribers:
                    await self._end()

    async def close(self) -> None:
        """End all subscriptions and the tail."""
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.close()
        async with self._lock:
            await self._end()

    async def _ensure_started(self) -> None:
        if self._pump is not None and not self._pump.done():
            return
        await self._end()
        tail = self._make_tail(self._subscribers.__contains__)
        try:
            await tail.start()
        except (HeadraceError, OSError) as error:
            await tail.stop()
            raise DependencyUnavailable("the live feed is unavailable") from error
        self._tail = tail
        self._pump = asyncio.create_task(self._run(tail), name="gateway-feed")

    async def _run(self, tail: RunTail) -> None:
        try:
            async for event in tail:
                for subscriber in tuple(self._subscribers.get(event.run_id, ())):
                    subscriber.put(event)
        except Exception as error:  # whatever the cause: streams end, clients come back and start a new tail
            log.warning("live_feed_failed", reason=type(error).__name__)
        finally:
            for subscribers in self._subscribers.values():
                for subscriber in subscribers:
                    subscriber.close()

    async def _end(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
        if self._tail is not None:
            tail, self._tail = self._tail, None
            await tail.stop()

    def _remove(self, run_id: str, subscriber: _Subscriber) -> None:
        subscribers = self._subscribers.get(run_id, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(run_id, None)
