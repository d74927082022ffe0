"""Producing from outside a processor: all or nothing, and acknowledged before it is said.

Sends of many callers share transactions (group commit, as in the worker). One that comes while nothing is going on begins at once;
otherwise the next begins with all that waits when the one before is over, and no sooner than ``_APART_S`` after that one began: a
transaction for every few sends would cost gateway and broker a third more processor time. So a batch is never half accepted, a
``read_committed`` reader sees nothing before it is acknowledged, and an aborted transaction leaves nothing. A transaction ends with
the first caller in it that gives up; the others go into the next one. Only a commit that the broker made and could not confirm is
reported as a failure all the same; the sender's delivery id makes its retry harmless.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from headrace.messages.codec import Encoded
from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.observe import records as spans
from headrace.observe.logging import get_logger
from headrace.runtime.api import ClaimCheck, Send
from headrace.runtime.transactions import Outcome, Stopped, Transactions
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

log = get_logger(__name__)

_MAX_RECORDS = 2_000  # in one transaction
_MAX_BYTES = 16 * 2**20
_APART_S = 0.008  # between the beginnings of transactions
_PAUSE_S = 0.02  # after a transaction that failed
_SHARE = 0.95  # of a caller's patience that a transaction may use, so that it gives up first
_NO_CAUSE: Mapping[str, str] = {}


@dataclass(eq=False, slots=True)
class _Waiting:
    records: list[Encoded]
    size: int
    deadline: float  # time.monotonic
    answer: asyncio.Future[None]


class Publisher:
    """``max_waiting`` bounds the batches that wait for a transaction: past it ``publish`` refuses at once."""

    def __init__(
        self, settings: MeshSettings, service: str, claim_check: ClaimCheck, *, max_waiting: int = 10_000
    ) -> None:
        self._service = service
        self._wire = Wire(service, settings, claim_check, topics=())  # nothing that is published here is Avro
        self._max_waiting = max_waiting
        self._waiting: list[_Waiting] = []
        self._work = asyncio.Event()
        self._stop_waits = threading.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"publish-{service}")
        self._transactions = Transactions(
            settings, service=f"{service}.publish", offsets=None, stopping=self._stop_waits
        )
        self._task: asyncio.Task[None] | None = None
        self._open = False
        self._failure: FatalError | None = None

    async def start(self) -> None:
        """Begin to connect; ``publish`` refuses until ``ready``."""
        self._task = asyncio.create_task(self._run(), name=f"publisher-{self._service}")

    def ready(self) -> bool:
        return self._open and self._failure is None

    @property
    def failure(self) -> FatalError | None:
        """Why it ended for good, if it did."""
        return self._failure

    async def publish(
        self, sends: Sequence[Send], *, timeout_s: float = 5.0, cause: Mapping[str, str] = _NO_CAUSE
    ) -> None:
        """Produce all of ``sends`` or none; returns when the broker has acknowledged them.

        Raises:
            DependencyUnavailable: not acknowledged within ``timeout_s``, or too many are waiting. Nothing of a batch that had not
                begun by then will be produced.
            BadMessage: a message that can't be encoded.
        """
        with spans.sending(self._service, len(sends)):
            await self._publish(sends, timeout_s, cause)

    async def _publish(self, sends: Sequence[Send], timeout_s: float, cause: Mapping[str, str]) -> None:
        self._check_open()
        records = await self._wire.encode_all(sends, cause)
        self._check_open()
        size = sum(len(record.value) + 200 for record in records)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(records, size, time.monotonic() + timeout_s * _SHARE, loop.create_future())
        self._waiting.append(waiting)
        self._work.set()
        patience = loop.call_later(timeout_s, _give_up, waiting.answer)
        try:
            await waiting.answer
        finally:
            patience.cancel()

    def _check_open(self) -> None:
        if not self.ready():
            raise DependencyUnavailable("Kafka is not reachable", retry_after=1.0)
        if len(self._waiting) >= self._max_waiting:
            raise DependencyUnavailable("too many records wait for Kafka", retry_after=1.0)

    async def stop(self) -> None:
        """What waits is refused; a transaction under way is finished."""
        opened, self._open = self._open, False
        self._stop_waits.set()
        self._refuse(self._waiting, DependencyUnavailable("shutting down", retry_after=1.0))
        self._work.set()
        if self._task:
            if not opened:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
        self._transactions.close()
        await self._wire.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._open_all(loop)
            began = 0.0
            while self._open:
                await self._work.wait()
                self._work.clear()
                while self._waiting:
                    if (early := began + _APART_S - loop.time()) > 0:
                        await asyncio.sleep(early)
                    began = loop.time()
                    if batch := self._next_batch():
                        await self._commit(loop, batch)
        except Stopped:
            pass
        except FatalError as error:
            log.error("publisher_failed", service=self._service, error=str(error))
            self._failure = error
            self._refuse(self._waiting, DependencyUnavailable("Kafka refuses"))

    async def _open_all(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._wire.open()
        await loop.run_in_executor(self._executor, self._transactions.open)
        self._open = True

    def _next_batch(self) -> list[_Waiting]:
        """What fits into one transaction; callers that have given up, or are about to, are left out."""
        now = time.monotonic()
        batch: list[_Waiting] = []
        records = size = taken = 0
        for waiting in self._waiting:
            if batch and (records + len(waiting.records) > _MAX_RECORDS or size + waiting.size > _MAX_BYTES):
                break
            taken += 1
            if waiting.deadline > now and not waiting.answer.done():
                batch.append(waiting)
                records += len(waiting.records)
                size += waiting.size
        del self._waiting[:taken]
        return batch

    async def _commit(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting]) -> None:
        records = [record for waiting in batch for record in waiting.records]
        deadline = min(waiting.deadline for waiting in batch)
        commit = partial(self._transactions.commit, records, (), deadline=deadline)
        try:
            outcome = await loop.run_in_executor(self._executor, commit)
        except (Stopped, FatalError):
            self._refuse(batch, DependencyUnavailable("Kafka did not acknowledge", retry_after=1.0))
            raise
        if outcome is Outcome.COMMITTED:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_result(None)
        elif self._open:
            self._waiting[:0] = batch  # those who gave up are left out of the next one
            await asyncio.sleep(_PAUSE_S)
        else:
            self._refuse(batch, DependencyUnavailable("shutting down", retry_after=1.0))

    @staticmethod
    def _refuse(batch: Sequence[_Waiting], error: DependencyUnavailable) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)


def _give_up(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_exception(DependencyUnavailable("Kafka did not acknowledge in time", retry_after=2.0))
