"""Helpers for runtime tests on a real broker: topics, a plain producer, and a read_committed reader."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.settings import MeshSettings

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Seen:
    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, str]


def make_topics(settings: MeshSettings, names: Iterable[str], *, partitions: int = 3, replicas: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    new = [NewTopic(settings.physical_topic(name), partitions, replicas) for name in names]
    for future in admin.create_topics(new).values():
        future.result(20)


def produce(
    settings: MeshSettings, topic: str, records: Iterable[tuple[str | None, bytes]], *, headers: Headers = ()
) -> None:
    options = {"acks": "all", "linger.ms": 5, "message.max.bytes": 2_000_000}
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, **options})
    failed: list[str] = []
    for key, value in records:
        producer.produce(
            settings.physical_topic(topic),
            value,
            key,
            headers=list(headers),
            on_delivery=lambda e, _m: failed.append(str(e)) if e else None,
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert not failed


def read_all(settings: MeshSettings, topic: str) -> list[Seen]:
    """Everything that is committed in ``topic`` now, per partition in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # how long the broker keeps the news that a partition has ended
        }
    )
    try:
        name = settings.physical_topic(topic)
        partitions = list(consumer.list_topics(name, 10).topics[name].partitions)
        consumer.assign([TopicPartition(name, p, 0) for p in partitions])
        open_partitions, seen = set(partitions), []
        deadline = time.monotonic() + 30
        while open_partitions and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if error := message.error():
                assert error.code() == KafkaError._PARTITION_EOF, error
                open_partitions.discard(message.partition())
                continue
            headers = {k: (v or b"").decode() for k, v in message.headers() or []}
            key = (message.key() or b"").decode()
            seen.append(Seen(topic, message.partition(), message.offset(), key, message.value() or b"", headers))
        assert not open_partitions, "did not reach the end: an open transaction?"
        return seen
    finally:
        consumer.close()


def committed(settings: MeshSettings, group: str, topic: str, partitions: Sequence[int]) -> list[TopicPartition]:
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.topic_prefix + group}
    )
    try:
        name = settings.physical_topic(topic)
        return consumer.committed([TopicPartition(name, p) for p in partitions], timeout=10)
    finally:
        consumer.close()
