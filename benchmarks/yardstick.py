"""What the broker and the client cost: the pipeline's three hops as a bare exactly-once loop on librdkafka.

    python -m benchmarks.yardstick HOP... (with KAFKA_BOOTSTRAP_SERVERS and HEADRACE_TOPIC_PREFIX)

A hop is ``from>to``. Poll, parse, produce, send the offsets, commit, one batch after the other; no model, no tool, no schema, no
retry, no dead letters, nothing in flight. Runs until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.runtime import config
from headrace.settings import MeshSettings

BATCH = 1_000


def loop(settings: MeshSettings, hops: dict[str, str], stopping: threading.Event) -> None:
    name = "+".join(hops)
    consumer = Consumer(
        config.consumer(settings, group=f"bare.{name}", client="bare") | {"auto.offset.reset": "earliest"}
    )
    producer = Producer(config.transactional_producer(settings, transactional_id=f"bare.{name}"))
    producer.init_transactions()
    targets = {settings.physical_topic(source): settings.physical_topic(to) for source, to in hops.items()}
    consumer.subscribe(list(targets))
    while not stopping.is_set():
        first = consumer.poll(0.1)
        messages = [m for m in ([first] if first else []) + consumer.consume(BATCH, 0) if not m.error()]
        if not messages:
            continue
        producer.begin_transaction()
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            topic = message.topic() or ""
            producer.produce(targets[topic], orjson.dumps(orjson.loads(message.value() or b"")), message.key())
            ends[topic, message.partition() or 0] = (message.offset() or 0) + 1
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()
    consumer.close()


if __name__ == "__main__":
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    loop(MeshSettings(), dict(hop.split(">") for hop in sys.argv[1:]), stopping)
