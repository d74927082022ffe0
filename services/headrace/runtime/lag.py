"""How far a consumer group has read: committed offsets against what can be read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from headrace.runtime import config
from headrace.runtime.cluster import END, FIRST, Cluster, Partition, flat
from headrace.settings import MeshSettings

_MARKER_SUSPECT: Final = 100  # a lag up to this may be transaction markers only: look
_LOOK_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class GroupLag:
    """How far a group has read a topic, summed over partitions. ``lag`` counts offsets, and is 0 when nothing can be read."""

    topic: str
    committed: int
    end: int
    lag: int


def group_lag(cluster: Cluster, group: str, topics: Sequence[str]) -> dict[str, GroupLag]:
    """Lag of ``group`` (without prefix, such as ``headrace.reasoning``) on each of ``topics`` that exists, by topic.

    A partition that the group never committed counts from its first record.
    """
    settings = cluster.settings
    found = cluster.partitions([settings.physical_topic(topic) for topic in topics])
    partitions = flat(found)
    position = cluster.offsets(partitions, FIRST) | cluster.committed(config.group_id(settings, group), partitions)
    end = cluster.offsets(partitions, END)
    behind = {partition: max(0, end[partition] - position[partition]) for partition in partitions}
    suspects = {partition: position[partition] for partition, lag in behind.items() if 0 < lag <= _MARKER_SUSPECT}
    behind |= dict.fromkeys(_nothing_to_read(settings, suspects), 0)
    lags = {}
    for physical, numbers in found.items():
        mine = [(physical, number) for number in numbers]
        topic = settings.logical_topic(physical)
        lags[topic] = GroupLag(
            topic,
            committed=sum(position[partition] for partition in mine),
            end=sum(end[partition] for partition in mine),
            lag=sum(behind[partition] for partition in mine),
        )
    return lags


def _nothing_to_read(settings: MeshSettings, positions: Mapping[Partition, int]) -> set[Partition]:
    """Those partitions where no record is between the position and the end.

    Each transaction leaves a marker, which takes an offset that no group ever commits; only reading tells it from a record.
    """
    if not positions:
        return set()
    empty: set[Partition] = set()
    waiting = set(positions)
    consumer = Consumer(config.reader(settings, client="lag"))
    try:
        consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in positions.items()])
        deadline = time.monotonic() + _LOOK_S
        while waiting and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            partition = (message.topic() or "", message.partition() or 0)
            if error is not None and error.code() == KafkaError._PARTITION_EOF and partition in waiting:
                empty.add(partition)
            waiting.discard(partition)
    finally:
        consumer.close()
    return empty
