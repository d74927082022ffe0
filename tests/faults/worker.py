"""The process under test: a real ``Worker`` with a processor that does little, watched from inside.

Everything that the checker must know is noted as it happens: starts and ends of records, every step of every transaction,
assignments and revocations. A kill at a given step is made here too, since nobody outside could meet it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from headrace.host.memory import settle_memory
from headrace.messages.base import Message
from headrace.messages.errors import DependencyUnavailable, FatalError, RejectedMessage
from headrace.messages.job import Job
from headrace.observe import logging as logs
from headrace.runtime import transactions
from headrace.runtime.api import Context, Send
from headrace.runtime.engine import Bounds
from headrace.runtime.poller import Poller
from headrace.runtime.retry import RetryPolicy
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from tests.faults import planted
from tests.faults.journal import Journal
from tests.runtime.relay import STAGE, NoBlobs

TX = "x-tx"  # header: the transaction attempt that produced the record
HEALED = "healed"  # a file that is there once the faults are over
STEPS = ("before produce", "after produce", "after offsets", "after commit")


@dataclass(frozen=True)
class Options:
    """``kill``: a step, and at which of its occurrences to die there. ``clock_jump``: (after s, by s)."""

    settings: MeshSettings
    folder: Path
    slot: int
    delay_s: float = 0.02
    bounds: Bounds = field(default_factory=Bounds)
    kill: tuple[str, int] | None = None
    clock_jump: tuple[float, float] | None = None
    bug: str | None = None


class Effects:
    """The processor. A prompt is ``x``, or ``kind:number``: see ``_act``. Its sleep stands for a model call."""

    def __init__(self, journal: Journal, folder: Path, delay_s: float) -> None:
        self._journal = journal
        self._healed = folder / HEALED
        self._delay_s = delay_s

    async def handle(self, message: Message, context: Context) -> Sequence[Send]:
        assert isinstance(message, Job)
        self._journal.note("start", job=message.job_id, key=message.record_key(), attempt=context.attempt)
        how = "cancelled"
        try:
            await self._act(message.prompt or "", context.attempt)
            how = "done"
        except RejectedMessage:
            how = "rejected"
            raise
        except Exception:
            how = "failed"
            raise
        finally:
            self._journal.note("end", job=message.job_id, key=message.record_key(), how=how)
        return [Send(message, topic="relayed"), Send(message, topic="copied")]

    async def _act(self, prompt: str, attempt: int) -> None:
        kind, _, number = prompt.partition(":")
        match kind:
            case "slow":
                await asyncio.sleep(float(number))
            case "block":
                time.sleep(float(number))  # noqa: ASYNC251 - what a processor must not do
            case "poison":
                raise RejectedMessage("poison", cause="poison", where="/prompt")
            case "fails":
                raise ValueError("fails every time")
            case "away" if attempt <= int(number) or not self._healed.exists():
                raise DependencyUnavailable("away")
            case _:
                await asyncio.sleep(random.random() * self._delay_s)


class Watched(Producer):
    """Notes each step of each transaction, and gives each attempt a name that its records carry."""

    journal: Journal
    kill: tuple[str, int] | None = None
    made = 0
    begun = 0
    steps: dict[str, int]

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        Watched.made += 1
        self.number = Watched.made
        self.tx = ""

    def _step(self, name: str) -> None:
        Watched.steps[name] = Watched.steps.get(name, 0) + 1
        if Watched.kill == (name, Watched.steps[name]):
            self.journal.note("dies", step=name)
            os.kill(os.getpid(), signal.SIGKILL)

    def begin_transaction(self) -> None:
        Watched.begun += 1
        self.tx = f"{os.getpid()}.{Watched.begun}"
        self.journal.note("begin", tx=self.tx, producer=self.number)
        super().begin_transaction()

    def produce(self, topic: str, value: Any = None, key: Any = None, *, headers: Any = None, **more: Any) -> None:
        self._step("before produce")
        self.journal.note("send", tx=self.tx, job=orjson.loads(value)["job_id"])
        super().produce(topic, value, key, headers=[*headers, (TX, self.tx.encode())], **more)
        self._step("after produce")

    def send_offsets_to_transaction(self, partitions: list[TopicPartition], *more: Any) -> None:
        offsets = [(p.partition, p.offset, p.metadata or "") for p in partitions]
        self.journal.note("offsets", tx=self.tx, offsets=offsets)
        super().send_offsets_to_transaction(partitions, *more)
        self._step("after offsets")

    def commit_transaction(self, *more: Any) -> None:
        tx = self.tx
        try:
            super().commit_transaction(*more)
        except KafkaException as error:
            self.journal.note("unsure", tx=tx, producer=self.number, abortable=error.args[0].txn_requires_abort())
            raise
        self.journal.note("committed", tx=tx)
        self._step("after commit")

    def abort_transaction(self, *more: Any) -> None:
        super().abort_transaction(*more)
        self.journal.note("aborted", tx=self.tx)


def _watch(journal: Journal, kill: tuple[str, int] | None) -> None:
    """Within this process only: the real classes, with notes around them."""
    Watched.journal, Watched.kill, Watched.steps = journal, kill, {}
    transactions.Producer = Watched  # type: ignore[misc, assignment]
    assign, revoke, lost = Poller._on_assign, Poller._on_revoke, Poller._on_lost

    def on_assign(self: Poller, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        journal.note("assigned", partitions=[p.partition for p in partitions])
        assign(self, consumer, partitions)

    def on_revoke(self: Poller, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoke(self, consumer, partitions)
        journal.note("revoked", partitions=[p.partition for p in partitions])

    def on_lost(self: Poller, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lost(self, consumer, partitions)
        journal.note("revoked", partitions=[p.partition for p in partitions], lost=True)

    Poller._on_assign, Poller._on_revoke, Poller._on_lost = on_assign, on_revoke, on_lost  # type: ignore[method-assign]


def _jump(by_s: float) -> None:
    """As when somebody sets the wall clock: ``time.time`` changes, the monotonic clock does not."""
    real = time.time
    time.time = lambda: real() + by_s


async def _run(options: Options, journal: Journal) -> None:
    worker = Worker(
        STAGE,
        Effects(journal, options.folder, options.delay_s),
        options.settings,
        NoBlobs(),
        bounds=options.bounds,
        retry=RetryPolicy(attempts=4, first_s=0.05, longest_s=0.5),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if options.clock_jump:
        loop.call_later(options.clock_jump[0], _jump, options.clock_jump[1])
    await worker.start()
    settle_memory()
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(worker.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    if waits[1].done():
        waits[1].result()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(4)


def main(options: Options) -> None:
    """Entry of the process. Ends with 3 if the worker stopped by itself, and has then noted why."""
    log = os.open(options.folder / f"{options.slot}-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.register(signal.SIGUSR1)  # where all threads are, for whoever looks into a cell that does not hold
    logs.configure("info")
    journal = Journal(options.folder / f"worker-{options.slot}-{os.getpid()}.jsonl")
    journal.note("up", slot=options.slot)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _watch(journal, options.kill)
    if options.bug:
        planted.plant(options.bug)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(options, journal))
    except FatalError as error:
        journal.note("stopped", error=str(error))
        raise SystemExit(3) from None
    journal.note("down")
