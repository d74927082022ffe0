"""The poller thread: the only one that touches the consumer.

It always polls, so the group never thinks that we are gone; backpressure is pausing partitions, never not polling. Records and
rebalances go to the event loop in order, by ``call_soon_threadsafe``. A revocation waits (bounded) for the loop to finish and
commit what is in flight; whatever happens, the tenancy has ended when the callback returns. Tokens (group metadata) are taken
here, at assignment: a later one could vouch for a partition that was lost.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, cast

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from headrace.messages.errors import FatalError
from headrace.observe.logging import get_logger
from headrace.runtime import config, foldstate, offsetmap
from headrace.runtime.cluster import not_allowed_to_read
from headrace.runtime.meter import meter
from headrace.settings import MeshSettings

log = get_logger(__name__)

_POLL_S = 0.05
_BATCH = 1_000
_STATS_S = 1.0
_OVERHEAD = 70  # bytes of a record, about, beside what it holds
_MAX_UNDELIVERED = 10_000  # records handed to an event loop that does not take them


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as received; ``topic`` is the logical name."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int
    size: int  # bytes of key, value and headers, and some for the rest


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition that is ours from ``committed`` on."""

    topic: str
    partition: int
    committed: int
    metadata: str


class Listener(Protocol):
    """The event loop's side. Every method runs in the loop."""

    def on_records(self, records: Sequence[Record], reached: Sequence[tuple[str, int, int]]) -> None: ...

    def on_assigned(self, partitions: Sequence[Assigned], token: object) -> None: ...

    def on_renewed(self, kept: Sequence[tuple[str, int]], token: object) -> None: ...

    def on_revoking(self, partitions: Sequence[tuple[str, int]], done: Callable[[], None]) -> None: ...

    def on_ended(self, partitions: Sequence[tuple[str, int]]) -> None: ...

    def on_ends(self, ends: dict[tuple[str, int], int]) -> None: ...

    def on_failed(self, error: FatalError) -> None: ...


class Poller(threading.Thread):
    def __init__(
        self,
        settings: MeshSettings,
        *,
        service: str,
        group: str,
        topics: Sequence[str],
        listener: Listener,
        loop: asyncio.AbstractEventLoop,
        revoke_drain_s: float,
    ) -> None:
        super().__init__(name=f"poller-{service}", daemon=True)
        self._settings = settings
        self._names = {settings.physical_topic(topic): topic for topic in topics}
        self._config = config.consumer(settings, group=group, client=service)
        self._listener = listener
        self._loop = loop
        self._revoke_drain_s = revoke_drain_s
        self._stop_asked = threading.Event()
        self._wanted: frozenset[tuple[str, int]] = frozenset()  # what the engine wants paused
        self._paused: set[tuple[str, int]] = set()
        self._renew = threading.Event()
        self._undelivered = 0
        self._lock = threading.Lock()
        self._warned: dict[str, float] = {}
        self._meter = meter()

    # --- called from the loop ------------------------------------------------------------------------------------------

    def pause(self, partitions: frozenset[tuple[str, int]]) -> None:
        """Fetch everything but these."""
        self._wanted = partitions

    def renew_tokens(self) -> None:
        """Send ``on_renewed`` with a fresh token: the broker refused one."""
        self._renew.set()

    def stop(self) -> None:
        """Leave the group and end the thread. The loop must have drained before."""
        self._stop_asked.set()

    # --- the thread ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self._run()
        except FatalError as error:
            self._post(self._listener.on_failed, error)
        except Exception as error:
            log.exception("poller_failed")
            self._post(self._listener.on_failed, FatalError(f"the poller failed: {error}"))

    def _run(self) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.subscribe(
                list(self._names), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            next_stats = 0.0
            while not self._stop_asked.is_set():
                self._apply_pauses(consumer)
                if self._renew.is_set():
                    self._renew.clear()
                    self._send_renewed(consumer)
                first = consumer.poll(_POLL_S)
                if first is not None:
                    self._deliver(consumer, [first, *consumer.consume(_BATCH, 0)])
                if (now := time.monotonic()) >= next_stats:
                    next_stats = now + _STATS_S
                    self._send_ends(consumer)
        finally:
            consumer.close()

    def _deliver(self, consumer: Consumer, messages: list[Message]) -> None:
        records, reached = [], []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(_record(message, self._names[message.topic() or ""]))
            elif error.code() == KafkaError._PARTITION_EOF:
                reached.append(self._position(message))
            else:
                self._refused(consumer, message, error)
        if self._meter is not None:
            for record in records:
                self._meter.add(record.topic, record.size - _OVERHEAD)
        with self._lock:
            self._undelivered += len(records)
        self._post(self._take, records, reached)

    def _take(self, records: list[Record], reached: list[tuple[str, int, int]]) -> None:
        with self._lock:
            self._undelivered -= len(records)
        self._listener.on_records(records, reached)

    def _position(self, message: Message) -> tuple[str, int, int]:
        return self._names[message.topic() or ""], message.partition() or 0, message.offset() or 0

    def _refused(self, consumer: Consumer, message: Message, error: KafkaError) -> None:
        code, where = error.code(), f"{message.topic()}/{message.partition()}"
        if code == KafkaError._AUTO_OFFSET_RESET or code == KafkaError.OFFSET_OUT_OF_RANGE:
            raise FatalError(
                f"the committed offset of {where} is out of range ({error.str()}): records were deleted before they were read; "
                "reset the group's offsets on purpose to go on"
            )
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise not_allowed_to_read(message.topic() or self._unseen(consumer))
        if error.fatal() or code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise FatalError(f"the consumer can't go on: {error.str()}")
        self._warn(error)

    def _unseen(self, consumer: Consumer) -> str:
        """The topics that the broker does not show us, where it refuses the subscription as a whole."""
        found = [consumer.list_topics(name, timeout=5.0).topics[name] for name in self._names]
        return ", ".join(one.topic for one in found if one.error is not None)

    def _warn(self, error: KafkaError) -> None:
        """Once in ten seconds a kind: a broker that is away would flood the log."""
        now = time.monotonic()
        if now - self._warned.get(error.name(), 0.0) > 10:
            self._warned[error.name()] = now
            log.warning("consumer_error", code=error.name(), error=error.str())

    def _apply_pauses(self, consumer: Consumer) -> None:
        wanted = self._owned(consumer) if self._undelivered > _MAX_UNDELIVERED else set(self._wanted)
        if wanted == self._paused:
            return
        owned = self._owned(consumer)
        if pause := [self._physical(where) for where in wanted - self._paused if where in owned]:
            consumer.pause(pause)
        if resume := [self._physical(where) for where in self._paused - wanted if where in owned]:
            consumer.resume(resume)
        self._paused = wanted & owned

    # --- rebalances: callbacks run inside poll() -------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        token = consumer.consumer_group_metadata()
        assigned = [self._starting_point(entry) for entry in self._committed(consumer, partitions)]
        if self._settings.group_protocol == "classic":
            # A rebalance makes the tokens of kept partitions stale too. With KIP-848 they stay good, and are the safer ones.
            self._post(self._listener.on_renewed, sorted(self._owned(consumer)), token)
        self._post(self._listener.on_assigned, assigned, token)
        consumer.incremental_assign(
            [
                TopicPartition(
                    self._settings.physical_topic(a.topic),
                    a.partition,
                    a.committed if a.committed >= 0 else OFFSET_BEGINNING,
                )
                for a in assigned
            ]
        )
        if partitions:
            consumer.resume(partitions)  # a pause would survive from an earlier tenancy
            self._paused -= {self._logical(entry) for entry in partitions}

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Committed offsets, stable ones: a pending transaction of the partition's last owner is waited for."""
        if not partitions:
            return []
        while not self._stop_asked.is_set():
            try:
                result = consumer.committed(partitions, timeout=10.0)
                for entry in result:
                    if entry.error:
                        raise KafkaException(entry.error)
                return result
            except KafkaException as error:
                self._warn(error.args[0])
                self._stop_asked.wait(0.2)
        return []

    def _starting_point(self, entry: TopicPartition) -> Assigned:
        topic, partition = self._logical(entry)
        if entry.offset == OFFSET_INVALID or entry.offset < 0:
            return Assigned(topic, partition, -1, "")
        metadata = entry.metadata or ""
        try:
            offsetmap.decode(entry.offset, foldstate.decode(metadata)[1])
        except offsetmap.CorruptOffsetMap as error:
            raise FatalError(f"{topic}/{partition}: {error}") from None
        return Assigned(topic, partition, entry.offset, metadata)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        names = [self._logical(entry) for entry in partitions]
        drained = threading.Event()
        self._post(self._listener.on_revoking, names, drained.set)
        drained.wait(self._revoke_drain_s)
        self._end(names, wait=True)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._end([self._logical(entry) for entry in partitions], wait=False)
        consumer.incremental_unassign(partitions)

    def _end(self, names: list[tuple[str, int]], *, wait: bool) -> None:
        """End tenancies; with ``wait``, return only when the loop has taken it in (it may be blocked: then the token protects)."""
        ended = threading.Event()

        def end() -> None:
            self._listener.on_ended(names)
            ended.set()

        self._post(end)
        if wait:
            ended.wait(self._revoke_drain_s)
        self._paused -= set(names)

    def _send_renewed(self, consumer: Consumer) -> None:
        # Both in this thread and between two polls: no rebalance can come between the list and the token.
        self._post(self._listener.on_renewed, sorted(self._owned(consumer)), consumer.consumer_group_metadata())

    def _send_ends(self, consumer: Consumer) -> None:
        ends = {}
        for entry in consumer.assignment():
            _, high = consumer.get_watermark_offsets(entry, cached=True)
            if high >= 0:
                ends[self._logical(entry)] = high
        self._post(self._listener.on_ends, ends)

    # --- names -----------------------------------------------------------------------------------------------------------

    def _owned(self, consumer: Consumer) -> set[tuple[str, int]]:
        return {self._logical(entry) for entry in consumer.assignment()}

    def _logical(self, entry: TopicPartition) -> tuple[str, int]:
        return self._settings.logical_topic(entry.topic), entry.partition

    def _physical(self, where: tuple[str, int]) -> TopicPartition:
        return TopicPartition(self._settings.physical_topic(where[0]), where[1])

    def _post(self, function: Callable[..., Any], *args: Any) -> None:
        """Run in the event loop; a loop that is closed already has no use for it."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.debug("loop_closed")


def _record(message: Message, topic: str) -> Record:
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    key, value = message.key(), message.value()
    size = len(key or b"") + len(value or b"") + _size(headers) + _OVERHEAD
    partition, offset = cast("int", message.partition()), cast("int", message.offset())
    return Record(topic, partition, offset, key, value, headers, message.timestamp()[1], size)


def _size(headers: Sequence[tuple[str, bytes | None]]) -> int:
    try:
        return sum(map(len, chain.from_iterable(headers)))  # type: ignore[arg-type]
    except TypeError:  # a header without a value
        return sum([len(name) + len(value or b"") for name, value in headers])
