"""Following topics from asyncio, without a group: live feeds, ``headrace results tail``, waiting for an answer in a script.

Reads committed records only, of all partitions, and commits nothing. Order holds within a partition. No part of the hot path:
a slow reader is its own problem, since aiokafka fetches no more than it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka import TopicPartition as AioPartition
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from headrace.messages import headers as record_headers
from headrace.messages.errors import DependencyUnavailable
from headrace.runtime import aio
from headrace.runtime.meter import meter, size_of
from headrace.settings import MeshSettings


class Since(NamedTuple):
    """The first record of each partition that is not older."""

    timestamp_ms: int


Start = Literal["end", "beginning"] | Since | Mapping[tuple[str, int], int]
_MAX_PARTITION_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class TailRecord:
    """A record as it is. ``topic`` is the logical name; ``timestamp_ms`` epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: dict[str, str]
    value: bytes | None
    timestamp_ms: int


class Tail:
    """``async with Tail(settings, ["agent.results"]) as tail: async for record in tail: ...``

    ``start`` is ``end`` (what comes after entering), ``beginning``, ``Since`` a time, or the first offset wanted per (logical
    topic, partition); a partition that is not named there, or has nothing so new, starts at its end.

    Raises (from entering and from iterating):
        DependencyUnavailable: Kafka can't be reached, or a topic does not exist.
    """

    def __init__(self, settings: MeshSettings, topics: Collection[str], *, start: Start = "end") -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._start = start
        self._consumer: Any = None
        self._meter = meter()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_MAX_PARTITION_BYTES,
            **aio.options(self._settings),
        )
        try:
            partitions = await self._partitions()
            await self._consumer.start()
            await self._seek(partitions)
        except KafkaError as error:
            await self._consumer.stop()
            raise DependencyUnavailable(f"Kafka: {type(error).__name__}") from None
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def __aiter__(self) -> AsyncIterator[TailRecord]:
        while True:
            try:
                record = await self._consumer.getone()
            except KafkaError as error:
                raise DependencyUnavailable(f"Kafka: {type(error).__name__}") from None
            topic = self._settings.logical_topic(record.topic)
            if self._meter is not None:
                self._meter.add(topic, size_of(record.key, record.value, record.headers))
            yield TailRecord(
                topic=topic,
                partition=record.partition,
                offset=record.offset,
                key=record.key,
                headers=record_headers.decode(record.headers),
                value=record.value,
                timestamp_ms=record.timestamp,
            )

    async def _seek(self, partitions: list[AioPartition]) -> None:
        """Fix every partition's position now, so that nothing which is produced from here on is missed."""
        self._consumer.assign(partitions)
        first = await self._consumer.beginning_offsets(partitions)
        end = await self._consumer.end_offsets(partitions)
        since = await self._not_older(partitions)
        for partition in partitions:
            position = self._position(partition, first[partition], end[partition])
            self._consumer.seek(partition, since.get(partition, position))

    async def _not_older(self, partitions: list[AioPartition]) -> dict[AioPartition, int]:
        """The offsets of ``Since``; a partition that has nothing so new is left out."""
        if not isinstance(self._start, Since):
            return {}
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, self._start.timestamp_ms))
        return {partition: place.offset for partition, place in found.items() if place is not None}

    def _position(self, partition: AioPartition, first: int, end: int) -> int:
        if self._start == "beginning":
            return first
        if self._start == "end" or isinstance(self._start, Since):
            return end
        wanted = self._start.get((self._settings.logical_topic(partition.topic), partition.partition), end)
        return min(max(wanted, first), end)

    async def _partitions(self) -> list[AioPartition]:
        cluster = await self._metadata()
        physical = [self._settings.physical_topic(topic) for topic in self._topics]
        if missing := sorted(set(physical) - cluster.topics()):
            raise DependencyUnavailable(f"no such topic: {', '.join(missing)} (headrace topics apply makes them)")
        return [
            AioPartition(topic, number) for topic in physical for number in sorted(cluster.partitions_for_topic(topic))
        ]

    async def _metadata(self) -> Any:
        """Metadata of all topics. The consumer's own would know only what it is subscribed to, and might create that."""
        client = AIOKafkaClient(**aio.options(self._settings))
        try:
            await client.bootstrap()
            return await client.fetch_all_metadata()
        finally:
            await client.close()
