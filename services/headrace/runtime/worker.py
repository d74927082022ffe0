"""The worker: one processor on real Kafka. Theory of operation::

    poller thread            event loop                                         transaction thread
    consume ----records----> engine.offer
                             engine.startable --> decode, processor, encode
                             engine.finish <----------'
                             engine.plan  -------------------------------------> begin, produce, offsets, commit
    pause <--engine.paused-- engine.settle <------------------------------------ committed | aborted | refused

The loop owns the engine, and so every decision; the threads own the clients. Group commit: whenever something is finished and no
transaction is under way, the next one begins with all that is finished. No transaction is ever open across user code. What may go
wrong has one place each: a processor's errors in ``Dispatch``, a transaction's in ``Transactions``, a lost partition in the
engine.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

from headrace.messages.codec import Encoded
from headrace.messages.errors import FatalError
from headrace.observe import metrics
from headrace.observe.logging import get_logger
from headrace.observe.records import RecordSpans
from headrace.pipeline import NEW_WORK, Stage
from headrace.runtime.api import ClaimCheck
from headrace.runtime.callers import topics_of
from headrace.runtime.dispatch import Dispatch
from headrace.runtime.engine import Bounds, Engine, Item, Plan, TopicPartition
from headrace.runtime.handling import AnyProcessor, handling
from headrace.runtime.pace import Pace
from headrace.runtime.poller import Assigned, Poller, Record
from headrace.runtime.predecessor import leave_for_predecessor
from headrace.runtime.retry import DeadLetterLimit, RetryPolicy
from headrace.runtime.transactions import Outcome, Stopped, Transactions, committed_offsets
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

log = get_logger(__name__)

_SPARE_AFTER_S = 15.0
_REVOKE_DRAIN_S = 3.0
_UNHURRIED = 5  # times the pause of others


class Worker:
    """A ``Component`` that runs ``processor`` as ``stage`` of the pipeline.

    Raises (from ``wait``):
        FatalError: the processor can't go on without an operator.
    """

    def __init__(
        self,
        stage: Stage,
        processor: AnyProcessor,
        settings: MeshSettings,
        claim_check: ClaimCheck,
        *,
        bounds: Bounds | None = None,
        retry: RetryPolicy | None = None,
        dead_letter_limit: DeadLetterLimit | None = None,
    ) -> None:
        self.name = stage.service
        self._stage = stage
        self._settings = settings
        topics = {*stage.consumes, *stage.produces}
        self._wire = Wire(stage.service, settings, claim_check, topics=topics, callers=topics_of(settings))
        self._spans = RecordSpans(stage.group, settings.topic_prefix)
        self._processor = processor
        self._retry = retry or RetryPolicy()
        self._limit = dead_letter_limit or DeadLetterLimit()
        bounds = bounds or Bounds()
        self._engine: Engine[Encoded] = Engine(
            bounds, new_work=() if stage.ordered else NEW_WORK, ordered=stage.ordered
        )
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()  # somebody waits for what is finished to be committed
        self._ended: asyncio.Future[None] | None = None
        self._ends: dict[TopicPartition, int] = {}
        self._revoking: list[tuple[Sequence[TopicPartition], Callable[[], None]]] = []
        self._stop_waits = threading.Event()
        self._stopping = False
        self._dispatch: Dispatch | None = None
        interval_s = settings.commit_interval_ms / 1_000 * (_UNHURRIED if stage.unhurried else 1)
        self._pace = Pace(interval_s, most=bounds.max_plan_records // 2)
        self._poller: Poller | None = None
        self._joined = math.inf  # when the group was asked for partitions
        self._committer: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"transactions-{stage.service}")
        self._transactions = Transactions(
            settings,
            service=stage.service,
            offsets=committed_offsets(settings, stage.group),
            stopping=self._stop_waits,
        )

    # --- Component -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatch = Dispatch(
            self._stage,
            self._engine,
            handling(self._stage, self._processor, self._wire, self._focus),
            self._spans,
            retry=self._retry,
            limit=self._limit,
            finished=self._work.set,
            failed=self.on_failed,
            pumped=self._pause,
        )
        self._ended = self._loop.create_future()
        self._ended.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._committer = asyncio.create_task(self._run(), name=f"committer-{self.name}")

    async def wait(self) -> None:
        assert self._ended is not None, "not started"
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Drain: no new record starts, those in flight finish and are committed, then the group is left."""
        if self._stopping:
            return
        self._stopping = True
        self._hurry.set()
        self._engine.drain(self._engine.partitions)
        self._pause()
        deadline = time.monotonic() + self._settings.drain_seconds
        while not self._engine.idle and time.monotonic() < deadline and not self._failed_already():
            self._work.set()
            await asyncio.sleep(0.02)
        await self._shut_down()
        self._end(None)

    def ready(self) -> bool:
        """It has partitions, or has waited for some so long that the others must have them all: then it is a spare."""
        if self._failed_already():
            return False
        return bool(self._engine.partitions) or time.monotonic() - self._joined > _SPARE_AFTER_S

    def status(self) -> dict[str, Any]:
        return {
            "group": self._settings.topic_prefix + self._stage.group,
            "partitions": len(self._engine.partitions),
            "in_flight": self._engine.in_flight,
            "waiting": self._engine.waiting,
            "uncommitted_bytes": self._engine.uncommitted_bytes,
            "finished": self._dispatch.finished if self._dispatch else 0,
            "dead_lettered": self._dispatch.dead_lettered if self._dispatch else 0,
            "lag": sum(self._lag().values()),
        }

    # --- life ------------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._wire.open()
            await self._loop.run_in_executor(self._executor, self._transactions.open)
            await leave_for_predecessor(self._settings, self._stage.group, self.name)  # its producers are fenced now
            self._poller = Poller(
                self._settings,
                service=self.name,
                group=self._stage.group,
                topics=self._stage.consumes,
                listener=self,
                loop=self._loop,
                revoke_drain_s=_REVOKE_DRAIN_S,
            )
            self._poller.start()
            self._joined = time.monotonic()
            log.info("worker_started", service=self.name, group=self._stage.group, topics=list(self._stage.consumes))
            while True:
                await self._work.wait()
                self._work.clear()
                await self._commit_all()
        except Stopped:
            pass
        except Exception as error:
            self.on_failed(error if isinstance(error, FatalError) else _unforeseen(error))

    async def _shut_down(self) -> None:
        self._stop_waits.set()
        if self._dispatch:
            await asyncio.gather(*self._dispatch.cancel(), return_exceptions=True)
        if self._committer and self._committer is not asyncio.current_task():
            self._committer.cancel()
            await asyncio.gather(self._committer, return_exceptions=True)
        self._engine.end(self._engine.partitions)  # nothing more of them finishes, so no revocation waits for it
        if self._poller and self._poller.is_alive():
            self._poller.stop()
            await self._loop.run_in_executor(None, self._poller.join)
        await self._loop.run_in_executor(None, self._executor.shutdown)
        self._transactions.close()
        await self._wire.close()

    def _failed_already(self) -> bool:
        return self._ended is not None and self._ended.done()

    def _end(self, error: Exception | None) -> None:
        assert self._ended is not None
        if self._ended.done():
            return
        if error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    # --- Listener: what the poller says ------------------------------------------------------------------------------------

    def on_records(self, records: Sequence[Record], reached: Sequence[tuple[str, int, int]]) -> None:
        taken = self._engine.offer(records)
        self._engine.reached(reached)
        if self._dispatch and not self._failed_already():
            self._dispatch.received(taken)
            self._dispatch.pump()

    def on_assigned(self, partitions: Sequence[Assigned], token: object) -> None:
        for entry in partitions:
            committed = max(entry.committed, 0)  # -1: never committed, from the beginning
            self._engine.assign(entry.topic, entry.partition, committed, entry.metadata, token)
        if self._stopping:  # what others gave up meanwhile is for those who stay
            self._engine.drain(self._engine.partitions)
            self._pause()
        if partitions:
            log.info(
                "partitions_assigned", service=self.name, partitions=[f"{p.topic}/{p.partition}" for p in partitions]
            )

    def on_renewed(self, kept: Sequence[TopicPartition], token: object) -> None:
        self._engine.renew(kept, token)
        self._cancel_orphans()
        self._work.set()

    def on_revoking(self, partitions: Sequence[TopicPartition], done: Callable[[], None]) -> None:
        self._engine.drain(partitions)
        self._hurry.set()
        self._revoking.append((partitions, done))
        self._answer_revocations()

    def on_ended(self, partitions: Sequence[TopicPartition]) -> None:
        ended = self._engine.end(partitions)
        self._cancel_orphans()
        if ended:
            log.info("partitions_ended", service=self.name, partitions=[f"{t}/{p}" for t, p in ended])

    def on_ends(self, ends: dict[TopicPartition, int]) -> None:
        self._ends = ends
        self._measure()

    def on_failed(self, error: FatalError) -> None:
        """Stop on the spot: nothing that is in flight is committed."""
        log.error("worker_failed", service=self.name, error=str(error))
        self._stop_waits.set()
        if self._poller:
            self._poller.stop()
        if self._dispatch:
            self._dispatch.cancel()
        self._end(error)

    def _cancel_orphans(self) -> None:
        if self._dispatch:
            self._dispatch.cancel_orphans()

    def _answer_revocations(self) -> None:
        waiting = []
        for partitions, done in self._revoking:
            if self._engine.drained(partitions):
                done()
            else:
                waiting.append((partitions, done))
        self._revoking = waiting
        if not waiting and not self._stopping:
            self._hurry.clear()

    # --- records -----------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        if self._dispatch and not self._failed_already():
            self._dispatch.pump()

    def _pause(self) -> None:
        if self._poller:
            self._poller.pause(self._engine.paused())

    def _focus(self, item: Item[Encoded]) -> None:
        self._spans.enter(item, cast("Record", item.record))

    # --- transactions --------------------------------------------------------------------------------------------------------

    async def _commit_all(self) -> None:
        plan = self._engine.plan()
        while plan is not None:
            outcome = await self._commit(plan)
            if outcome is Outcome.REFUSED and self._poller:
                self._poller.renew_tokens()
                await asyncio.sleep(0.1)
            records = len(plan.items)
            plan = self._engine.settle(committed=outcome is Outcome.COMMITTED)
            self._answer_revocations()
            self._pump()
            if outcome is Outcome.COMMITTED:
                metrics.COMMIT_RECORDS.labels(self.name).observe(records)
                await self._gather(records)
                plan = self._engine.plan()

    async def _commit(self, plan: Plan[Encoded]) -> Outcome:
        outputs = [output for item in plan.items for output in item.outputs]
        offsets = list(plan.offsets.values())
        with self._spans.committing(plan.items) as span:
            outcome = await self._loop.run_in_executor(self._executor, self._transactions.commit, outputs, offsets)
            span.set_attribute("headrace.outcome", outcome.name.lower())
        return outcome

    async def _gather(self, records: int) -> None:
        """Under load, wait after a transaction of so many records for the next one to become larger.

        A transaction's price hardly depends on its size: without this a stream of work is committed in small pieces, and half of
        what the mesh costs is transactions. Where a partition is to be given back, or the worker is to stop, nothing waits.
        """
        if pause := self._pace.after(records, self._loop.time()):
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurry.wait()

    # --- figures -------------------------------------------------------------------------------------------------------------

    def _lag(self) -> dict[str, int]:
        lag = dict.fromkeys(self._stage.consumes, 0)
        for where, end in self._ends.items():
            position = self._engine.position(where)
            if position is not None:
                lag[where[0]] += max(0, end - position)
        return lag

    def _measure(self) -> None:
        metrics.IN_FLIGHT.labels(self.name).set(self._engine.in_flight)
        metrics.QUEUED.labels(self.name).set(self._engine.waiting)
        metrics.QUEUED_BYTES.labels(self.name).set(self._engine.uncommitted_bytes)
        metrics.PAUSED.labels(self.name).set(len(self._engine.paused()))
        for topic, lag in self._lag().items():
            metrics.LAG.labels(self.name, topic).set(lag)


def _unforeseen(error: Exception) -> FatalError:
    log.error("worker_broke", exc_info=error)
    return FatalError(f"{type(error).__name__}: {error}")
