"""Stretches of topics: where they begin and end, how long they are kept, and which offset a time is at.

All calls block, and raise ``DependencyUnavailable`` while Kafka can't be reached and ``FatalError`` when it refuses. Topics in and
out are the mesh's own names. Ends are what a read_committed reader can reach.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.runtime import config
from headrace.runtime.cluster import END, FIRST, TIMEOUT_S, Cluster, Partition, flat, guard, result, translated
from headrace.settings import MeshSettings

Stretch = tuple[int, int]  # first offset, and the one after the last
_READ_S: Final = 30.0
_GONE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


@dataclass(frozen=True, slots=True)
class Extent:
    """What a topic holds now. ``retention_ms`` is the cluster's own setting, -1 for ever."""

    topic: str
    retention_ms: int
    partitions: Mapping[int, Stretch]


class Ranges:
    """Asks for ``client`` (a name for the broker's logs)."""

    def __init__(self, settings: MeshSettings, client: str) -> None:
        self._settings = settings
        self._client = client
        self._cluster = Cluster(settings)

    def extents(self, topics: Collection[str]) -> dict[str, Extent]:
        """What each of ``topics`` holds. Raises ``FatalError`` naming those that the cluster lacks."""
        found = self._cluster.partitions([self._settings.physical_topic(topic) for topic in topics])
        missing = [topic for topic in topics if self._settings.physical_topic(topic) not in found]
        if missing:
            text = f"there is no topic {', '.join(missing)}, or none that this principal may see"
            raise FatalError(f"{text}: run `headrace prepare`, or see to its ACLs")
        first, end = self._cluster.offsets(flat(found), FIRST), self._cluster.offsets(flat(found), END)
        kept = self._retention(list(found))
        return {
            self._settings.logical_topic(name): Extent(
                self._settings.logical_topic(name),
                kept[name],
                {number: (first[name, number], max(first[name, number], end[name, number])) for number in numbers},
            )
            for name, numbers in found.items()
        }

    def at_time(self, partitions: Collection[Partition], timestamp_ms: int) -> dict[Partition, int]:
        """The first offset whose record is not older than ``timestamp_ms``; partitions that have none are left out."""
        spec: Any = OffsetSpec.for_timestamp(timestamp_ms)
        found = self._cluster.offsets([(self._settings.physical_topic(topic), n) for topic, n in partitions], spec)
        return {(self._settings.logical_topic(topic), n): at for (topic, n), at in found.items() if at >= 0}

    def oldest(self, stretches: Mapping[Partition, Stretch]) -> dict[Partition, int]:
        """Timestamp (epoch ms) of the first record of each stretch; those without a record are left out.

        Raises:
            FatalError: that record was deleted meanwhile.
        """
        waiting = {self._physical(where): stretch for where, stretch in stretches.items() if stretch[0] < stretch[1]}
        found: dict[Partition, int] = {}
        if not waiting:
            return found
        consumer = Consumer(config.reader(self._settings, client=self._client) | {"queued.min.messages": 1})
        try:
            consumer.assign([TopicPartition(*where, stretch[0]) for where, stretch in waiting.items()])
            deadline = time.monotonic() + _READ_S
            while waiting:
                if time.monotonic() > deadline:
                    raise DependencyUnavailable("the first records could not be read in time")
                message = consumer.poll(0.2)
                if message is None or (stretch := waiting.pop(_partition(message), None)) is None:
                    continue
                if _is_record(message) and cast("int", message.offset()) < stretch[1]:
                    topic, number = _partition(message)
                    found[self._settings.logical_topic(topic), number] = message.timestamp()[1]
                consumer.incremental_unassign([TopicPartition(*_partition(message))])
        finally:
            consumer.close()
        return found

    def _retention(self, physical: Sequence[str]) -> dict[str, int]:
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in physical]
        answers = guard(lambda: self._cluster.client.describe_configs(resources, request_timeout=TIMEOUT_S))
        configs = {resource.name: result(future) for resource, future in answers.items()}
        compacted = {name for name, entries in configs.items() if "delete" not in str(entries["cleanup.policy"].value)}
        return {
            name: -1 if name in compacted else int(entries["retention.ms"].value) for name, entries in configs.items()
        }

    def _physical(self, where: Partition) -> Partition:
        return self._settings.physical_topic(where[0]), where[1]


def _partition(message: Message) -> Partition:
    return message.topic() or "", message.partition() or 0


def _is_record(message: Message) -> bool:
    """False at the end of a partition. Raises what else may come."""
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._PARTITION_EOF:
        return False
    if error.code() in _GONE:
        raise FatalError(f"records of {message.topic()}/{message.partition()} were deleted while they were read")
    raise translated(KafkaException(error))
