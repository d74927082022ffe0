"""Reading single records by their places, many at once: what an index points to.

No group, no commits. Places of a partition that lie near each other are read in one go. A picker owns one thread, since one thread
owns a consumer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.messages.errors import DependencyUnavailable
from headrace.runtime import config
from headrace.runtime.api import Source
from headrace.runtime.cluster import FIRST, Cluster, Partition, translated
from headrace.runtime.meter import size_of
from headrace.runtime.poller import Record
from headrace.settings import MeshSettings

_BATCH: Final = 2_000
_NEAR: Final = 5_000  # offsets that are rather read than leapt over
_STALLED_S: Final = 30.0
_GONE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._PARTITION_EOF})


class Picker:
    """``async with Picker(settings) as picker: records = await picker.read(places)``

    ``bytes_read``: of the records that it was asked for, so far; keys, values and headers, uncompressed.
    """

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="picker")
        self._consumer: Consumer | None = None
        self.bytes_read = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            await self._run(self._consumer.close)
        self._thread.shutdown(wait=False)

    async def read(self, places: Collection[Source]) -> dict[Source, Record]:
        """The records at ``places``; those that are not there (any more) are left out.

        Raises:
            DependencyUnavailable: Kafka can't be reached, or nothing came for 30 s.
            FatalError: Kafka refuses.
        """
        return cast("dict[Source, Record]", await self._run(self._read, places))

    async def _run(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    # --- in the thread ---------------------------------------------------------------------------------------------------

    def _read(self, places: Collection[Source]) -> dict[Source, Record]:
        if self._consumer is None:
            self._consumer = Consumer(config.reader(self._settings, client="pick") | {"fetch.queue.backoff.ms": 5})
        wanted: dict[Partition, set[int]] = {}
        for place in places:
            wanted.setdefault((self._settings.physical_topic(place.topic), place.partition), set()).add(place.offset)
        first = Cluster(self._settings).offsets(list(wanted), FIRST)
        there = {where: {at for at in offsets if at >= first[where]} for where, offsets in wanted.items()}
        found: dict[Source, Record] = {}
        for stretches in _rounds(there):
            self._read_round(self._consumer, stretches, there, found)
        return found

    def _read_round(
        self,
        consumer: Consumer,
        stretches: Mapping[Partition, tuple[int, int]],
        wanted: Mapping[Partition, set[int]],
        found: dict[Source, Record],
    ) -> None:
        """Reads each partition from one offset to another, and keeps what is wanted."""
        consumer.assign([TopicPartition(*where, first) for where, (first, _) in stretches.items()])
        left, moved = set(stretches), time.monotonic()
        while left:
            messages = consumer.consume(_BATCH, 0.1)
            for message in messages:
                where, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
                if where not in left:
                    continue
                if _is_record(message) and offset in wanted[where]:
                    record = self._record(message)
                    found[Source(record.topic, record.partition, record.offset)] = record
                if message.error() is not None or offset >= stretches[where][1]:
                    left.discard(where)
            if messages:
                moved = time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                raise DependencyUnavailable(f"nothing to read of {min(left)[0]}: an open transaction?")

    def _record(self, message: Message) -> Record:
        topic = self._settings.logical_topic(message.topic() or "")
        headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
        self.bytes_read += size_of(message.key(), message.value(), headers)
        return Record(
            topic,
            message.partition() or 0,
            message.offset() or 0,
            message.key(),
            message.value(),
            headers,
            message.timestamp()[1],
            0,
        )


def _rounds(wanted: Mapping[Partition, set[int]]) -> Iterator[dict[Partition, tuple[int, int]]]:
    """Stretches to read, one a partition at a time: offsets that lie far apart are in different rounds."""
    queues = {where: _stretches(sorted(offsets)) for where, offsets in wanted.items() if offsets}
    while queues:
        yield {where: stretches.pop(0) for where, stretches in queues.items()}
        queues = {where: stretches for where, stretches in queues.items() if stretches}


def _stretches(offsets: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and offset - found[-1][1] <= _NEAR:
            found[-1] = found[-1][0], offset
        else:
            found.append((offset, offset))
    return found


def _is_record(message: Message) -> bool:
    """False where there is none to read. Raises what else may come."""
    error = message.error()
    if error is None:
        return True
    if error.code() in _GONE:
        return False
    raise translated(KafkaException(error))
