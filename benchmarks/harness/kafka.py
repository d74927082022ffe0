"""The client of every system whose way in and out is a Kafka topic; it runs in headrace's environment, so no peer pays for it.

    python -m benchmarks.harness.kafka plain|mesh ISOLATION (with the run's spec in the environment)

``Plain`` is for peers: JSON in, JSON out, on the topics of the pipeline below the run's prefix. ``Mesh`` is for headrace: jobs in,
Avro results out. Doubled results are counted, wrong ones too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Protocol

import fastavro
import msgspec
import orjson
from benchmarks.peerkit.client import drive
from benchmarks.peerkit.work import Spec, dumps
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headrace.messages.codec import AVRO_FORMS
from headrace.messages.job import Job
from headrace.messages.result import AgentResult

_WIRE_HEADER = 5  # a zero and the schema's id, before an Avro datum
TOPICS = ("agent.jobs", "tool.calls", "tool.results", "agent.results")


def make_topics(bootstrap: str, run: str, partitions: int, topics: Sequence[str] = TOPICS) -> None:
    """Without them a first record would wait for the client's metadata."""
    config = {"message.timestamp.type": "CreateTime", "max.message.bytes": "4194304"}
    wanted = [NewTopic(f"{run}.{name}", partitions, 1, config=config) for name in topics]
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept: its futures fail once it is gone
    for future in admin.create_topics(wanted).values():
        future.result(30)


def remake_topics(bootstrap: str, run: str, partitions: int) -> None:
    """headrace's topics with another number of partitions than they declare; they are empty."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_topics([f"{run}.{name}" for name in TOPICS], operation_timeout=30).values():
        future.result(30)
    end = time.monotonic() + 30
    while any(f"{run}.{name}" in admin.list_topics(timeout=10).topics for name in TOPICS):
        if time.monotonic() > end:
            raise TimeoutError("the topics are still there")
        time.sleep(0.1)
    make_topics(bootstrap, run, partitions)


def drop_topics(bootstrap: str, run: str) -> None:
    """Everything below the run's prefix, whoever made it: what is left over would cost the broker something in later runs."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = [name for name in admin.list_topics(timeout=10).topics if name.startswith((f"{run}.", f"{run}-"))]
    if found:
        for future in admin.delete_topics(found).values():
            future.result(30)


class Format(Protocol):
    """What goes in and how a result is read."""

    def encode(self, number: int) -> tuple[bytes, str]:
        """Value and key."""

    def number(self, message: Message) -> int: ...

    def is_right(self, message: Message, number: int) -> bool: ...


class Plain:
    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def encode(self, number: int) -> tuple[bytes, str]:
        invocation = self._spec.invocation(number)
        return dumps(invocation), invocation["key"]

    def number(self, message: Message) -> int:
        return self._spec.number(orjson.loads(message.value() or b"")["id"])

    def is_right(self, message: Message, number: int) -> bool:
        return self._spec.is_right(orjson.loads(message.value() or b""), number)


class Mesh:
    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._schema = fastavro.parse_schema(AVRO_FORMS[AgentResult].schema)

    def encode(self, number: int) -> tuple[bytes, str]:
        invocation = self._spec.invocation(number)
        key = invocation["key"]
        job = Job(
            job_id=invocation["id"], agent="bench", prompt=invocation["input"], partition_key=key, timeout_sec=600
        )
        return msgspec.json.encode(job), key

    def number(self, message: Message) -> int:
        return self._spec.number((message.key() or b"").decode())

    def is_right(self, message: Message, number: int) -> bool:
        datum = (message.value() or b"")[_WIRE_HEADER:]
        found: Any = fastavro.schemaless_reader(BytesIO(datum), self._schema, None)
        return bool(found["status"] == "completed" and found["job_id"] == self._spec.id(number))


FORMATS: dict[str, Callable[[Spec], Format]] = {"plain": Plain, "mesh": Mesh}


class Topics:
    """A ``Port`` of ``agent.jobs`` and ``agent.results``."""

    def __init__(self, spec: Spec, form: Format, isolation: str) -> None:
        self._spec, self._form = spec, form
        bootstrap = {"bootstrap.servers": spec.servers["kafka"]}
        self._producer = Producer(
            bootstrap
            | {
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0 if spec.per_second else 5,
                "queue.buffering.max.messages": 1_000_000,
                "message.max.bytes": 4_000_000,
            }
        )
        self._consumer = Consumer(
            bootstrap
            | {
                "group.id": f"{spec.run}.client",
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5 if spec.per_second else 50,
            }
        )
        topic = f"{spec.run}.agent.results"
        partitions = self._consumer.list_topics(topic, 10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        self._seen: list[tuple[int, Message]] = []

    def submit(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            value, key = self._form.encode(number)
            while True:
                try:
                    self._producer.produce(f"{self._spec.run}.agent.jobs", value, key)
                    break
                except BufferError:
                    self._producer.poll(0.01)
        self._producer.poll(0)

    def arrived(self, timeout_s: float) -> list[tuple[int, float]]:
        self._producer.poll(0)
        first = self._consumer.poll(timeout_s)
        messages = [one for one in ([first] if first else []) + self._consumer.consume(1_000, 0) if not one.error()]
        now = time.time()
        found = [(self._form.number(message), message) for message in messages]
        self._seen += found
        return [(number, now) for number, _ in found]

    def flush(self) -> None:
        self._producer.flush()

    def verify(self) -> int:
        return sum(not self._form.is_right(message, number) for number, message in self._seen if number >= 0)


def main() -> None:
    form, isolation = sys.argv[1:]
    spec = Spec.given()
    drive(Topics(spec, FORMATS[form](spec), isolation), spec)


if __name__ == "__main__":
    main()
