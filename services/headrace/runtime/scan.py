"""Reading whole topics once, as they are now: from their oldest record to the end that was there when the scan began.

Committed records only, and all of them: the end is that of everything written, so a transaction that is still open there is waited
for (the broker ends it). No group, no commits. A scan owns one thread, since one thread owns a consumer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.messages.errors import DependencyUnavailable
from headrace.runtime import config
from headrace.runtime.cluster import END, FIRST, Cluster, flat, translated
from headrace.runtime.meter import meter, size_of
from headrace.runtime.poller import Record
from headrace.settings import MeshSettings

_BATCH: Final = 2_000
_STALLED_S: Final = 30.0  # without a record or a step forward
Where = tuple[str, int]  # logical topic, partition


class Scan:
    """``async with Scan(settings, topics) as scan: async for batch in scan: ...``

    ``first`` and ``ends`` are the offsets that it goes from and to, by (logical topic, partition); ``start`` may set a later first
    one, and ``end`` an earlier last. Records of a partition come in order. A topic that does not exist is left out.

    Raises (from entering and from iterating):
        DependencyUnavailable: Kafka can't be reached, or nothing came for 30 s.
        FatalError: Kafka refuses.
    """

    def __init__(
        self,
        settings: MeshSettings,
        topics: Collection[str],
        *,
        start: Mapping[Where, int] | None = None,
        end: Mapping[Where, int] | None = None,
    ) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._start = start or {}
        self._end = end or {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scan")
        self._consumer: Consumer | None = None
        self._meter = meter()
        self.first: dict[Where, int] = {}
        self.ends: dict[Where, int] = {}
        self._open: set[Where] = set()

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._begin)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            await self._run(self._consumer.close)
        self._thread.shutdown(wait=False)

    async def __aiter__(self) -> AsyncIterator[list[Record]]:
        moved = time.monotonic()
        while self._open:
            left = len(self._open)
            if batch := await self._run(self._next):
                yield batch
            if batch or len(self._open) < left:
                moved = time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                raise DependencyUnavailable(f"nothing to read of {sorted(self._open)[0][0]}: an open transaction?")

    async def _run(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # --- in the thread ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        cluster = Cluster(self._settings)
        partitions = flat(cluster.partitions([self._settings.physical_topic(topic) for topic in self._topics]))
        oldest, ends = cluster.offsets(partitions, FIRST), cluster.offsets(partitions, END, uncommitted=True)
        for physical in partitions:
            where = self._settings.logical_topic(physical[0]), physical[1]
            self.first[where] = max(oldest[physical], self._start.get(where, 0))
            self.ends[where] = min(ends[physical], self._end.get(where, ends[physical]))
        self._open = {where for where, first in self.first.items() if first < self.ends[where]}
        self._consumer = Consumer(_options(self._settings))
        self._consumer.assign(
            [TopicPartition(self._settings.physical_topic(t), p, self.first[t, p]) for t, p in sorted(self._open)]
        )

    def _next(self) -> list[Record]:
        assert self._consumer is not None
        first = self._consumer.poll(0.2)
        if first is None:
            return []
        return [
            record
            for message in (first, *self._consumer.consume(_BATCH, 0))
            if (record := self._record(message)) is not None
        ]

    def _record(self, message: Message) -> Record | None:
        """The record, if it lies before the end; at the end its partition is done."""
        where = self._settings.logical_topic(message.topic() or ""), message.partition() or 0
        offset = message.offset() or 0
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise translated(KafkaException(error))
        if offset >= self.ends[where] - (error is None):
            self._open.discard(where)
        if error is not None or offset >= self.ends[where]:
            return None
        headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
        record = Record(*where, offset, message.key(), message.value(), headers, message.timestamp()[1], 0)
        if self._meter is not None:
            self._meter.add(record.topic, size_of(record.key, record.value, headers))
        return record


def committed_states(settings: MeshSettings, group: str, topics: Collection[str]) -> dict[Where, tuple[int, str]]:
    """Committed offset and metadata of ``group`` (without prefix) by (logical topic, partition), where it has committed. Blocks.

    Raises:
        DependencyUnavailable: Kafka can't be reached.
    """
    cluster = Cluster(settings)
    partitions = flat(cluster.partitions([settings.physical_topic(topic) for topic in topics]))
    found = cluster.commits(config.group_id(settings, group), partitions, stable=True)
    return {(settings.logical_topic(topic), number): state for (topic, number), state in found.items()}


def _options(settings: MeshSettings) -> config.Config:
    """Long reads: more is fetched ahead than a table needs."""
    return config.reader(settings, client="scan") | {
        "queued.min.messages": 10_000,
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 5,
    }
