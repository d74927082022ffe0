"""Faust, kept to what it is used for: one topic in, one table that a changelog keeps, and records out. Off the hot path.

Faust brings group membership, co-partitioned table recovery and the changelog. What is done differently here, and why:

- **Acknowledgement is ours.** Faust's own batching (``take``) acknowledges a batch also when its handler raises or is cancelled.
  Here the agent only queues events; ``batch`` hands them out, and ``ack`` comes after the changelog has acknowledged their effect.
- **Writes go to the changelog first**, and into memory when the broker has them. A write that fails has changed nothing.
- **read_committed**, which Faust uses only within its own transactions.
- **An event of a past assignment is dropped**, unacknowledged: its partition may be somebody else's, and it is read again anyway.

At-least-once, then: what was not acknowledged comes again, and the caller must tell by the offset. No window of Faust's is used
(see ``analytics.windows``), nor its web server, nor its leader topic.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import faust
import orjson

from headrace.messages.codec import Encoded
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.headers import RawHeaders
from headrace.observe.logging import get_logger
from headrace.pipeline import Stage
from headrace.runtime.faust_setup import Shape, build
from headrace.runtime.poller import Record
from headrace.settings import MeshSettings

log = get_logger(__name__)

_QUEUE: Final = 2_000  # events received and not yet handed out; past it fetching stops
_STOP_S: Final = 15.0
_SETTLE_S: Final = 0.02

Json = Any
_Outgoing = tuple[str, int | None, bytes | None, bytes | None, list[tuple[str, bytes]]]
Writes = Sequence[tuple[int, str, Json]]  # partition, key, value; None deletes
Unwanted = Callable[[RawHeaders], bool]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in order within each partition, of one assignment. ``events`` are for ``FaustApp.ack``."""

    records: Sequence[Record]
    events: Sequence[Any]
    generation: int


class FaustApp:
    """One Faust app; it starts once. Records whose headers are ``unwanted`` are done without being seen.

    Group and changelog are named ``<prefix><group>`` and ``<prefix><group>-<table>-changelog``.
    """

    def __init__(
        self,
        settings: MeshSettings,
        stage: Stage,
        *,
        table: str,
        shape: Shape,
        commit_s: float = 1.0,
        unwanted: Unwanted | None = None,
    ) -> None:
        (topic,) = stage.consumes
        self._settings = settings
        self._queue: asyncio.Queue[Any] = asyncio.Queue(_QUEUE)
        name = settings.physical_topic(topic)
        pass_over = None if unwanted is None else partial(self._passes_over, name, unwanted)
        self._app = build(settings, stage, replication=shape.replication, commit_s=commit_s, pass_over=pass_over)
        self._input = self._app.topic(name, key_serializer="raw", value_serializer="raw", allow_empty=True)
        self._table = self._app.Table(table, partitions=shape.partitions, on_recover=self._on_recover)
        self._app.agent(self._input, name=f"headrace.{stage.service}")(self._consume)
        self._recovered_of = -1
        self._recoveries = 0
        self._offsets: dict[int, int] = {}
        self._passed: dict[int, int] = {}

    async def start(self) -> None:
        """Connect, join the group, restore the table. May take as long as Kafka does."""
        await self._app.start()

    async def stop(self) -> None:
        """Commit what is acknowledged, leave. Never longer than some seconds."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._app.stop()
        except Exception as error:  # a broker that is away, or what Faust makes of it: it is over either way
            log.warning("faust_stop_incomplete", error=type(error).__name__)

    def failure(self) -> BaseException | None:
        """Why Faust has given up, if it has: a new app has to take its place."""
        if not self._app.crashed:
            return None
        return self._app.crash_reason or RuntimeError("Faust stopped")

    # --- state -----------------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> int:
        """How often the table was restored; at a change the whole of it may be new."""
        return self._recoveries

    def items(self) -> Mapping[str, Json]:
        """The table, as the broker has it."""
        return dict(self._table.data.items())

    def get(self, key: str) -> Json:
        """The value of ``key``, None if there is none."""
        return self._table.data.get(key)

    async def write(self, writes: Writes) -> None:
        """Put ``writes`` into the changelog, in order, then into memory.

        Raises:
            DependencyUnavailable: not all are acknowledged. Memory is unchanged; writing the same again is right.
        """
        topic = self._table.changelog_topic.get_topic_name()
        await self._produce(
            [
                (topic, partition, orjson.dumps(key), None if value is None else orjson.dumps(value), [])
                for partition, key, value in writes
            ]
        )
        for _, key, value in writes:
            if value is None:
                self._table.data.pop(key, None)
            else:
                self._table.data[key] = value

    # --- input -----------------------------------------------------------------------------------------------------------

    async def batch(self, limit: int, timeout_s: float) -> Batch | None:
        """What has arrived, at most ``limit`` records; None if nothing did in time."""
        try:
            events = [await asyncio.wait_for(self._queue.get(), timeout_s)]
        except TimeoutError:
            return None
        while len(events) < limit and not self._queue.empty():
            events.append(self._queue.get_nowait())
        generation = self._app.consumer_generation_id
        events = [event for event in events if event.message.generation_id == generation]
        batch = Batch([self._record(event) for event in events], events, generation)
        return batch if events and await self.settled(batch) else None

    async def settled(self, batch: Batch) -> bool:
        """Wait until the group is settled and the table whole; whether the batch is still of this assignment then.

        Nothing of the assignment may be passed over: the entries after it would be counted, and it would look counted too. Only a
        batch of a past assignment is dropped, since Faust reads on from the committed offsets after each.
        """
        while not self.stale(batch):
            if self._recovered_of == batch.generation and not self._app.rebalancing:
                return True
            if self._app.crashed:
                return False  # and so is the app: another one reads it again
            await asyncio.sleep(_SETTLE_S)
        return False

    def stale(self, batch: Batch) -> bool:
        """Whether it is of a past assignment."""
        return batch.generation != self._app.consumer_generation_id

    def ack(self, batch: Batch) -> None:
        """All of it is done: its offsets may be committed."""
        for event in batch.events:
            event.ack()
            self._offsets[event.message.partition] = event.message.offset + 1

    def partitions(self) -> set[int]:
        """Partitions of the input that are ours and restored."""
        if self._recovered_of != self._app.consumer_generation_id or self._app.rebalancing:
            return set()
        name = self._input.get_topic_name()
        return {tp.partition for tp in self._app.consumer.assignment() if tp.topic == name}

    def lag(self) -> int:
        """Records between what is done and the end of our partitions, as far as is known."""
        total = 0
        name = self._input.get_topic_name()
        consumer = self._app.consumer
        for number in self.partitions():
            end = consumer.highwater(faust.types.TP(name, number))
            done = self._offsets.get(number, -1)
            if not consumer.unacked:
                done = max(done, self._passed.get(number, -1))
            total += max(0, end - done) if end is not None and done >= 0 else 0
        return total

    async def _consume(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._queue.put(event)

    def _passes_over(self, topic: str, unwanted: Unwanted, message: Any) -> bool:
        if message.topic != topic or not unwanted(message.headers or ()):
            return False
        self._passed[message.partition] = message.offset + 1
        return True

    async def _on_recover(self) -> None:
        self._recovered_of = self._app.consumer_generation_id
        self._recoveries += 1

    def _record(self, event: Any) -> Record:
        message = event.message
        value: bytes | None = message.value
        return Record(
            topic=self._settings.logical_topic(message.topic),
            partition=message.partition,
            offset=message.offset,
            key=message.key,
            value=value,
            headers=list(message.headers or ()),
            timestamp_ms=round((message.timestamp or 0.0) * 1000),
            size=len(value or b""),
        )

    # --- output ----------------------------------------------------------------------------------------------------------

    async def send(self, records: Iterable[Encoded]) -> None:
        """Produce ``records`` (logical topic names); returns when the broker has all of them.

        Raises:
            DependencyUnavailable: it has not acknowledged all; some may be there.
        """
        await self._produce(
            [
                (self._settings.physical_topic(record.topic), None, record.key, record.value, list(record.headers))
                for record in records
            ]
        )

    async def _produce(self, records: Sequence[_Outgoing]) -> None:
        """To the producer itself: Faust's buffer before it would tell nobody of a failure."""
        producer = self._app.producer
        sent: list[Any] = []
        try:
            for topic, partition, key, value, headers in records:
                sent.append(await producer.send(topic, key, value, partition, time.time(), headers))
        except Exception as error:
            raise DependencyUnavailable(f"Kafka: {type(error).__name__}") from None
        finally:
            answers = await asyncio.gather(*sent, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Exception):
                raise DependencyUnavailable(f"Kafka did not acknowledge: {type(answer).__name__}") from None
