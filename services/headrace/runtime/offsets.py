"""A group's committed offsets, read by a consumer that never joins it.

Not by the administrative client: librdkafka 2.16 dies of a null pointer where its ``list_consumer_group_offsets`` meets a
coordinator that is just changing.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headrace.runtime import config
from headrace.settings import MeshSettings


def stored_offsets(
    settings: MeshSettings, group_id: str, partitions: Sequence[TopicPartition], *, stable: bool, timeout_s: float
) -> list[TopicPartition]:
    """Offset and metadata of each of ``partitions``; ``group_id`` is the cluster's own name of the group.

    ``stable`` makes the broker wait for transactions that may still change them. Raises ``KafkaException``.
    """
    isolation = "read_committed" if stable else "read_uncommitted"
    options = {"group.id": group_id, "isolation.level": isolation}
    consumer = Consumer(config.reader(settings, client="offsets") | options)
    try:
        found = consumer.committed(list(partitions), timeout=timeout_s)
    finally:
        consumer.close()
    for entry in found:
        if entry.error is not None:
            raise KafkaException(entry.error)
    return found
