"""Reads what a consumer of the results would read, while it happens and once more at the end; and the group's commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.runtime import config
from headrace.runtime.offsets import stored_offsets
from headrace.settings import MeshSettings
from tests.faults.worker import TX
from tests.runtime.relay import STAGE

OUTPUTS = ("relayed", "copied", "relay.dlq")


@dataclass(frozen=True)
class Read:
    """A record as a ``read_committed`` reader has it, and when (``time.monotonic``)."""

    at: float
    topic: str
    partition: int
    offset: int
    key: str
    job: str
    tx: str

    @property
    def where(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset


@dataclass(frozen=True)
class Commit:
    """What the group has committed for a partition of ``agent.jobs``, as asked at ``at``."""

    at: float
    partition: int
    offset: int
    metadata: str


def reader(settings: MeshSettings, topics: Iterable[str], partitions: int) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "observer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # a cell may have records deleted
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(settings.physical_topic(t), p, 0) for t in topics for p in range(partitions)])
    return consumer


def as_read(settings: MeshSettings, message: Message) -> Read:
    headers = dict(message.headers() or [])
    return Read(
        time.monotonic(),
        settings.logical_topic(message.topic() or ""),
        message.partition() or 0,
        message.offset() or 0,
        (message.key() or b"").decode(),
        orjson.loads(message.value() or b"")["job_id"],
        (headers.get(TX) or b"").decode(),
    )


def read_to_end(settings: MeshSettings, topics: Iterable[str], partitions: int, patience_s: float = 60) -> list[Read]:
    """Everything that is committed now (and perhaps some of what comes meanwhile), in order within a partition."""
    names = list(topics)
    consumer = reader(settings, names, partitions)
    ends, found, deadline = set[tuple[str, int]](), list[Read](), time.monotonic() + patience_s
    try:
        while len(ends) < len(names) * partitions:
            assert time.monotonic() < deadline, "the end was not reached: a transaction is still open, or a broker away"
            for message in consumer.consume(500, 0.2):
                where = message.topic() or "", message.partition() or 0
                if (error := message.error()) is None:
                    found.append(as_read(settings, message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ends.add(where)
    finally:
        consumer.close()
    return found


class Observer(threading.Thread):
    """``seen`` grows while it runs; ``done`` are the jobs that have an output or a dead letter."""

    def __init__(self, settings: MeshSettings, partitions: int) -> None:
        super().__init__(name="observer", daemon=True)
        self._settings, self._partitions = settings, partitions
        self._stopped = threading.Event()
        self.seen: list[Read] = []
        self.done: dict[str, float] = {}
        self.commits: list[Commit] = []
        self.failure: BaseException | None = None
        self._watcher = threading.Thread(target=self._watch_commits, name="commits", daemon=True)

    def run(self) -> None:
        consumer = reader(self._settings, OUTPUTS, self._partitions)
        self._watcher.start()
        try:
            while not self._stopped.is_set():
                for message in consumer.consume(500, 0.05):
                    if message.error() is None:
                        self._note(as_read(self._settings, message))
        except BaseException as failure:
            self.failure = failure
        finally:
            consumer.close()

    def _note(self, read: Read) -> None:
        self.seen.append(read)
        if read.topic != "copied":
            self.done.setdefault(read.job, read.at)

    def _watch_commits(self) -> None:
        topic, group = self._settings.physical_topic("agent.jobs"), config.group_id(self._settings, STAGE.group)
        asked = [TopicPartition(topic, p) for p in range(self._partitions)]
        while not self._stopped.wait(0.5):
            try:
                answers = stored_offsets(self._settings, group, asked, stable=False, timeout_s=5.0)
            except KafkaException:
                continue  # a broker is away, as it should be
            now = time.monotonic()
            self.commits += [Commit(now, a.partition, a.offset, a.metadata or "") for a in answers if a.offset >= 0]

    def all_committed(self, inputs: Iterable[Read]) -> bool:
        """Whether the group was through with these records a second ago, so that what came of them is here."""
        since = time.monotonic() - 1.0
        reached = {commit.partition: commit.offset for commit in list(self.commits) if commit.at < since}
        return all(reached.get(read.partition, 0) > read.offset for read in inputs)

    def finish(self) -> None:
        self._stopped.set()
        self.join(30)
        self._watcher.join(30)
        if self.failure:
            raise self.failure

    def abandon(self) -> None:
        self._stopped.set()
