"""Group commit for callers: many concurrent ``submit`` calls become one ``flush``.

While one flush is under way, items gather; when it is done, all that gathered go in the next. So an idle system answers at
once, and a busy one makes large batches, with no timer to tune. Owns order, bounds, and whom an error belongs to; knows
nothing of what a flush does, except that it is all or nothing and may be repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from headrace.messages.errors import BadMessage, DependencyUnavailable

T = TypeVar("T")
R = TypeVar("R")


class _One(Generic[R]):
    """What the item of a ``submit`` comes to."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    def put(self, _place: int, answer: R | Exception) -> None:
        if self.future.done():  # its caller was cancelled
            return
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class _Many(Generic[R]):
    """What the items of a ``submit_all`` come to; done when each has its own answer."""

    __slots__ = ("_missing", "answers", "future")

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answers: list[Any] = [None] * count
        self._missing = count

    def put(self, place: int, answer: R | Exception) -> None:
        self.answers[place] = answer
        self._missing -= 1
        if not self._missing and not self.future.done():
            self.future.set_result(None)


class _Waiting(NamedTuple, Generic[T, R]):
    item: T
    answer: _One[R] | _Many[R]
    place: int


class Coalescer(Generic[T, R]):
    """Calls ``flush`` with up to ``max_items`` items, whose weights add up to ``max_weight`` at most unless one alone has more.

    ``flush`` returns one result per item, in order, and is called again with parts of a batch if it raises ``BadMessage``, until
    the bad item is alone; every other error belongs to all items of the batch. One flush runs at a time.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        max_items: int = 1_000,
        max_weight: int | None = None,
        weigh: Callable[[T], int] = lambda item: 1,
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._max_weight = max_weight
        self._weigh = weigh
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, item: T) -> R:
        """The item's own result. Cancelling the caller drops the item if its flush has not begun, and disturbs nobody else.

        Raises what ``flush`` raised, or ``DependencyUnavailable`` after ``close``.
        """
        answer: _One[R] = _One()
        self._add([_Waiting(item, answer, 0)])
        return await answer.future

    async def submit_all(self, items: Sequence[T]) -> list[R | Exception]:
        """Each item's own result, or what ``flush`` raised for it, in order. They need not go in one flush.

        Raises ``DependencyUnavailable`` after ``close``.
        """
        if not items:
            return []
        answer: _Many[R] = _Many(len(items))
        self._add([_Waiting(item, answer, place) for place, item in enumerate(items)])
        await answer.future
        return answer.answers

    def _add(self, waiting: Sequence[_Waiting[T, R]]) -> None:
        if self._closed:
            raise DependencyUnavailable("the writer is closed")
        self._waiting.extend(waiting)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Refuse new items, then wait until those already submitted are answered."""
        self._closed = True
        if self._runner is not None:
            await asyncio.wait({self._runner})

    async def _run(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._runner = None
            for waiting in self._waiting:  # only if this task itself was cancelled
                waiting.answer.future.cancel()
            self._waiting.clear()

    def _take(self) -> list[_Waiting[T, R]]:
        batch: list[_Waiting[T, R]] = []
        weight = 0
        while self._waiting and len(batch) < self._max_items:
            if self._waiting[0].answer.future.done():  # its caller was cancelled
                self._waiting.popleft()
                continue
            weight += self._weigh(self._waiting[0].item)
            if batch and self._max_weight is not None and weight > self._max_weight:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: list[_Waiting[T, R]]) -> None:
        try:
            results = await self._flush([waiting.item for waiting in batch])
            for waiting, result in list(zip(batch, results, strict=True)):
                waiting.answer.put(waiting.place, result)
        except BadMessage as error:
            await self._divide(batch, error)
        except asyncio.CancelledError:
            _cancel(batch)
            raise
        except Exception as error:
            _fail(batch, error)

    async def _divide(self, batch: list[_Waiting[T, R]], error: BadMessage) -> None:
        """Halve until the bad one is alone: a bad item costs its batch a few more flushes, not one for each item."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        middle = len(batch) // 2
        try:
            await self._answer(batch[:middle])
        except asyncio.CancelledError:
            _cancel(batch[middle:])
            raise
        await self._answer(batch[middle:])


def _fail(batch: Sequence[_Waiting[T, R]], error: Exception) -> None:
    for waiting in batch:
        waiting.answer.put(waiting.place, error)


def _cancel(batch: Sequence[_Waiting[T, R]]) -> None:
    for waiting in batch:
        waiting.answer.future.cancel()
