"""A group's committed offsets, read and written by a consumer that never joins it.

Not by the administrative client: librdkafka 2.16 dies of a null pointer where its ``list_consumer_group_offsets`` meets a
coordinator that is just changing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headrace.runtime import config
from headrace.settings import MeshSettings


def stored_offsets(
    settings: MeshSettings, group_id: str, partitions: Sequence[TopicPartition], *, stable: bool, timeout_s: float
) -> list[TopicPartition]:
    """Offset and metadata of each of ``partitions``; ``group_id`` is the cluster's own name of the group.

    ``stable`` makes the broker wait for transactions that may still change them. Raises ``KafkaException``.
    """
    with _outsider(settings, group_id, "read_committed" if stable else "read_uncommitted") as consumer:
        return _intact(consumer.committed(list(partitions), timeout=timeout_s))


def store_offsets(settings: MeshSettings, group_id: str, offsets: Sequence[TopicPartition]) -> None:
    """Commit for a group that nobody is in. Raises ``KafkaException``, also if somebody is."""
    with _outsider(settings, group_id, "read_committed") as consumer:
        _intact(consumer.commit(offsets=list(offsets), asynchronous=False) or [])


@contextmanager
def _outsider(settings: MeshSettings, group_id: str, isolation: str) -> Iterator[Consumer]:
    options = {"group.id": group_id, "isolation.level": isolation}
    consumer = Consumer(config.reader(settings, client="offsets") | options)
    try:
        yield consumer
    finally:
        consumer.close()  # one that is left to the garbage collector may block it for ever


def _intact(entries: list[TopicPartition]) -> list[TopicPartition]:
    """Raises the error of the first entry that has one."""
    for entry in entries:
        if entry.error is not None:
            raise KafkaException(entry.error)
    return entries
