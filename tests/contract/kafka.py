"""Small Kafka clients for tests: write raw records, read a topic back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from headrace.messages.codec import Encoded
from headrace.runtime import config
from headrace.settings import MeshSettings


@dataclass(frozen=True)
class Raw:
    partition: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def write(settings: MeshSettings, records: Sequence[Encoded], *, commit: bool = True) -> None:
    """All records in one transaction."""
    producer = Producer(config.transactional_producer(settings, transactional_id="test.writer"))
    producer.init_transactions(10)
    producer.begin_transaction()
    for record in records:
        producer.produce(
            settings.physical_topic(record.topic), record.value, record.key, headers=cast("Any", record.headers)
        )
    producer.flush(10)
    if commit:
        producer.commit_transaction(10)
    else:
        producer.abort_transaction(10)


def read(settings: MeshSettings, topic: str) -> list[Raw]:
    """All committed records of a topic."""
    physical = settings.physical_topic(topic)
    consumer = Consumer(config.reader(settings, client="test.reader") | {"auto.offset.reset": "earliest"})
    records = []
    try:
        waiting = set(consumer.list_topics(physical, timeout=10).topics[physical].partitions)
        consumer.assign([TopicPartition(physical, number, 0) for number in waiting])
        while waiting:
            message = consumer.poll(10)
            assert message is not None, "the topic could not be read"
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                waiting.discard(cast("int", message.partition()))
                continue
            headers = dict(cast("Any", message.headers()) or ())
            records.append(Raw(cast("int", message.partition()), message.key(), message.value(), headers))
    finally:
        consumer.close()
    return records
