"""What becomes of records between the engine and the transactions: started, finished, tried again or dead-lettered.

Records that start one by one share tasks. A task takes records as long as none makes it wait; as soon as one does, the event loop
runs the *relief*, which sees to it that another task takes the rest. So a record that never waits costs no task of its own, and a
thousand that wait have a thousand tasks. A task that has worked for ``_SLICE_S`` lets the loop do other things first.

What a processor prepares for many records at once is prepared when they are received, so that it is there when their lane is free.
``Item.prepared`` says how far that is: None (not begun, or to be done again), ``_PENDING``, ``_WANTED`` (the record is in flight
and waits for it), or what was prepared.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final, cast

from headrace.messages.codec import Encoded
from headrace.messages.errors import BadMessage, FatalError
from headrace.observe import metrics
from headrace.observe.logging import get_logger
from headrace.observe.records import RecordSpans
from headrace.pipeline import Stage
from headrace.runtime.deadletter import cause_of, dead_letter
from headrace.runtime.engine import Engine, Item
from headrace.runtime.handling import Answered, Handling
from headrace.runtime.poller import Record
from headrace.runtime.retry import DeadLetterLimit, RetryPolicy

log = get_logger(__name__)

_SLICE_S: Final = 0.005
_PREPARED_AT_ONCE: Final = 250
_PENDING: Final = object()
_WANTED: Final = object()
_PER_OUTPUT: Final = 200  # bytes beside its value, about


class Dispatch:
    """``finished`` is called when there is something to commit, ``failed`` with what ends the worker, ``pumped`` after each look
    for what may start.
    """

    def __init__(
        self,
        stage: Stage,
        engine: Engine[Encoded],
        handling: Handling,
        spans: RecordSpans,
        *,
        retry: RetryPolicy,
        limit: DeadLetterLimit,
        finished: Callable[[], None],
        failed: Callable[[FatalError], None],
        pumped: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._engine = engine
        self._handling = handling
        self._spans = spans
        self._retry = retry
        self._limit = limit
        self._on_finished, self._on_failed, self._on_pumped = finished, failed, pumped
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Item[Encoded]] = deque()  # in flight for the engine, and not begun
        self._tasks: dict[Item[Encoded], asyncio.Task[None]] = {}  # which task works on a record
        self._relief = self._pumping = self._stopped = False
        self._rng = random.Random()  # noqa: S311 - jitter
        self._seconds = {topic: metrics.HANDLE_SECONDS.labels(stage.service, topic) for topic in stage.consumes}
        self._done = {topic: metrics.RECORDS.labels(stage.service, topic, "done") for topic in stage.consumes}
        self.finished = 0
        self.dead_lettered = 0

    # --- for the worker ----------------------------------------------------------------------------------------------------

    def received(self, items: Sequence[Item[Encoded]]) -> None:
        """Records that wait for their turn: what is to be prepared is begun."""
        prepares = self._handling.prepares
        if prepares and not self._stopped:
            self._begin_preparing([item for item in items if item.record.topic in prepares], _PENDING)

    def pump(self) -> None:
        """Start what may start."""
        self._pumping = False
        if self._stopped:
            return
        if items := self._engine.startable():
            if self._handling.together:
                self._begin(items, self._run_together(items))
            else:
                self._start(items)
        self._on_pumped()

    def pump_soon(self) -> None:
        """Once for all that finishes in this turn of the loop."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self.pump)

    def cancel_orphans(self) -> None:
        """Stop working for partitions that are gone."""
        orphans: dict[asyncio.Task[None], bool] = {}
        for item, task in self._tasks.items():
            orphans[task] = item.tenancy.ended and orphans.get(task, True)
        for task, all_ended in orphans.items():
            if all_ended:
                task.cancel()

    def cancel(self) -> Sequence[asyncio.Task[None]]:
        """Stop for good; the tasks that are ending."""
        self._stopped = True
        self._ready.clear()
        tasks = list(dict.fromkeys(self._tasks.values()))
        for task in tasks:
            task.cancel()
        return tasks

    # --- prepared together -------------------------------------------------------------------------------------------------

    def _start(self, items: list[Item[Encoded]]) -> None:
        prepares = self._handling.prepares
        if not prepares:
            self._ready.extend(items)
        else:
            self._begin_preparing([item for item in items if not self._started(item, prepares)], _WANTED)
        self._relieve()

    def _started(self, item: Item[Encoded], prepares: Collection[str]) -> bool:
        """Put to those that are ready, or marked as waited for; False if its preparation has yet to begin."""
        if item.record.topic not in prepares:
            self._ready.append(item)
        elif item.prepared is _PENDING:
            item.prepared = _WANTED
        elif item.prepared is None:
            return False
        else:
            self._ready.append(item)
        return True

    def _begin_preparing(self, items: Sequence[Item[Encoded]], mark: object) -> None:
        for at in range(0, len(items), _PREPARED_AT_ONCE):
            some = items[at : at + _PREPARED_AT_ONCE]
            for item in some:
                item.prepared = mark
            self._begin(some, self._prepare(some))

    async def _prepare(self, items: Sequence[Item[Encoded]]) -> None:
        try:
            found = await self._handling.prepare(items)
        except asyncio.CancelledError:
            return
        finally:
            for item in items:
                del self._tasks[item]
        for item, prepared in zip(items, found, strict=True):
            wanted = item.prepared is _WANTED
            item.prepared = None if isinstance(prepared, Exception) else prepared
            if not wanted:
                continue  # an error counts when the record's turn has come and it is still there
            if not isinstance(prepared, Exception):
                self._ready.append(item)
            elif not self._ended(item, prepared):
                return
        self._relieve()
        self.pump_soon()

    def _begin(self, items: Sequence[Item[Encoded]], work: Coroutine[Any, Any, None]) -> None:
        """One task for several records."""
        self._tasks.update(dict.fromkeys(items, self._loop.create_task(work)))

    # --- one by one --------------------------------------------------------------------------------------------------------

    def _relieve(self) -> None:
        self._relief = False
        if self._ready:
            self._loop.create_task(self._take())

    async def _take(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        ready, tasks, run, seconds = self._ready, self._tasks, self._handling.run, self._seconds
        now = time.perf_counter()
        end = now + _SLICE_S
        while ready and now < end:
            item = ready.popleft()
            if item.tenancy.ended:
                continue
            if not self._relief:
                self._relief = True
                self._loop.call_soon(self._relieve)
            tasks[item] = task
            started = now
            try:
                result = await run(item)
            except asyncio.CancelledError:
                self._spans.abandoned(item)
                return  # its partition is gone, or the worker stops: the next owner runs the record again
            finally:
                del tasks[item]
            now = time.perf_counter()
            seconds[item.record.topic].observe(now - started)
            if not self._ended(item, result):
                return
        self.pump_soon()

    # --- together ----------------------------------------------------------------------------------------------------------

    async def _run_together(self, items: Sequence[Item[Encoded]]) -> None:
        started = time.perf_counter()
        try:
            results = await self._handling.run_all(items)
        except asyncio.CancelledError:
            for item in items:
                self._spans.abandoned(item)
            return
        finally:
            for item in items:
                del self._tasks[item]
        elapsed = time.perf_counter() - started
        for item, result in zip(items, results, strict=True):
            self._seconds[item.record.topic].observe(elapsed)
            if not self._ended(item, result):
                return
        self.pump_soon()

    # --- what came of it ---------------------------------------------------------------------------------------------------

    def _ended(self, item: Item[Encoded], result: Sequence[Encoded] | Exception) -> bool:
        """An attempt is over. False if that ends the worker."""
        if not isinstance(result, Exception):
            if item.trace is not None:
                self._spans.ended(item)
            if self._finish(item, result):
                self._limit.note(dead=False)
                self._done[item.record.topic].inc()
        elif isinstance(result, FatalError):
            self._spans.ended(item, result)
            self._on_failed(result)
            return False
        else:
            self._failed(item, cast("Record", item.record), result)
        return True

    def _failed(self, item: Item[Encoded], record: Record, error: Exception) -> None:
        service = self._stage.service
        delay = self._retry.delay(error, item.attempt, self._rng)
        where = {"service": service, "topic": record.topic, "partition": record.partition, "offset": record.offset}
        if delay is None:
            if not isinstance(error, BadMessage):
                log.error("record_given_up", **where, attempts=item.attempt, exc_info=error)
            self._bury(item, record, error)
            return
        log.warning(
            "record_failed",
            **where,
            attempt=item.attempt,
            retry_in_s=round(delay, 3),
            error=f"{type(error).__name__}: {error}",
        )
        metrics.RETRIES.labels(service, record.topic).inc()
        self._spans.retried(item, error, item.attempt, delay)
        if self._engine.park(item):
            self._loop.call_later(delay, self._try_again, item)
        else:
            self._spans.abandoned(item)

    def _try_again(self, item: Item[Encoded]) -> None:
        self._engine.unpark(item)
        self.pump()

    def _bury(self, item: Item[Encoded], record: Record, error: Exception) -> None:
        service, cause = self._stage.service, cause_of(error)
        letter = dead_letter(
            record, error, topic=self._stage.dead_letters, group=self._stage.group, attempts=item.attempt
        )
        log.warning(
            "record_dead_lettered",
            service=service,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            cause=cause,
        )
        if self._limit.note(dead=True):
            text = f"{service} dead-letters too much (last cause: {cause}): stopped before the topic drains away"
            self._on_failed(FatalError(text))
            return
        self.dead_lettered += 1
        metrics.DEAD_LETTERS.labels(service, cause).inc()
        self._spans.ended(item, error)
        answers = error.outputs if isinstance(error, Answered) else ()
        if self._finish(item, [*answers, letter]):
            metrics.RECORDS.labels(service, record.topic, "dead_lettered").inc()

    def _finish(self, item: Item[Encoded], outputs: Sequence[Encoded]) -> bool:
        size = sum([len(output.value or b"") + _PER_OUTPUT for output in outputs])
        if not self._engine.finish(item, outputs, size):
            return False
        self.finished += 1
        self._on_finished()
        return True
