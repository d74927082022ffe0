"""The live feed: one tail of the run topics, shared by all open streams of this process, and only while there are any.

``Hub`` fans out by run id. It starts its tail with the first subscriber and ends it after the last. A subscriber that does not keep
up is cut off: it comes back with Last-Event-ID and reads on from the index, so memory stays bounded and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
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


class Subscriber:
    """The events of one stream, in order of arrival; it ends when it is closed, or falls too far behind."""

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


class Recall:
    """The events of the last ``seconds``, at most ``most``, for those who come a little late. Time is the events' own."""

    def __init__(self, seconds: float = 60.0, most: int = 20_000) -> None:
        self._kept_ms = seconds * 1000
        self._events: deque[RunEvent] = deque(maxlen=most)

    def add(self, event: RunEvent) -> None:
        self._events.append(event)
        while event.timestamp_ms - self._events[0].timestamp_ms > self._kept_ms:
            self._events.popleft()

    def of(self, run_id: str) -> list[RunEvent]:
        return [event for event in self._events if event.run_id == run_id]

    def clear(self) -> None:
        self._events.clear()


class Hub:
    """Fans one tail out to subscribers. ``make_tail`` is called for each first one (a tail is used once), with what says whether
    anybody follows a run. With ``recall`` it has to give the events of all runs, and late subscribers get what was just now."""

    def __init__(self, make_tail: Callable[[Callable[[str], bool]], RunTail], recall: Recall | None = None) -> None:
        self._make_tail = make_tail
        self._recall = recall
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._lock = asyncio.Lock()
        self._tail: RunTail | None = None
        self._pump: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def joined(self, run_id: str, subscriber: Subscriber) -> AsyncIterator[None]:
        """``subscriber`` gets the run's events meanwhile. Raises ``DependencyUnavailable``."""
        try:
            async with self._lock:
                await self._ensure_started()
                for event in self._recall.of(run_id) if self._recall else ():  # nothing awaits from here on: none twice
                    subscriber.put(event)
                self._subscribers.setdefault(run_id, set()).add(subscriber)
            yield
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
        tail = self._make_tail(_everything if self._recall else self._subscribers.__contains__)
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
                if self._recall:
                    self._recall.add(event)
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
        if self._recall:
            self._recall.clear()
        if self._tail is not None:
            tail, self._tail = self._tail, None
            await tail.stop()

    def _remove(self, run_id: str, subscriber: Subscriber) -> None:
        subscribers = self._subscribers.get(run_id, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(run_id, None)


def _everything(_run_id: str) -> bool:
    return True


class Feeds:
    """``Feed`` over two hubs: the records of runs, and what models write, which is read only while somebody asks for it."""

    def __init__(self, records: Hub, tokens: Hub) -> None:
        self._records = records
        self._tokens = tokens

    def subscribe(self, run_id: str, *, tokens: bool = False) -> AbstractAsyncContextManager[AsyncIterator[RunEvent]]:
        return self._subscription(run_id, tokens)

    @asynccontextmanager
    async def _subscription(self, run_id: str, tokens: bool) -> AsyncIterator[AsyncIterator[RunEvent]]:
        subscriber = Subscriber()
        async with AsyncExitStack() as joined:
            await joined.enter_async_context(self._records.joined(run_id, subscriber))
            if tokens:
                await joined.enter_async_context(self._tokens.joined(run_id, subscriber))
            yield subscriber

    async def close(self) -> None:
        await self._records.close()
        await self._tokens.close()
