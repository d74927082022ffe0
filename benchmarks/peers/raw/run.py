"""The yardstick: the pipeline's hops as a loop on librdkafka, without any framework. See README.md for its three modes.

    consume -> [wait out the call] -> produce to the next topic -> commit

Calls wait in one deque per topic. Since every call of a topic takes equally long, records come due in the order in which they were
read: what was committed is always a prefix of each partition, and plain offsets are enough for exactly-once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from benchmarks.peerkit import work
from benchmarks.peerkit.work import CallLog, Json, Spec, ready
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from headrace.runtime import config
from headrace.settings import MeshSettings

BATCH = 1_000
MAX_TRANSACTION = 5_000  # records, as headrace bounds it
MAX_MESSAGE = 4_000_000  # it has no claim check
COMMIT_EVERY_S = 0.1  # at-least-once only


@dataclass(frozen=True)
class Stage:
    """One hop: where its output goes, the call in it, and which model call that is (0: the tool)."""

    to: str
    wait_s: float
    step: Callable[[Json], Json]
    turn: int


@dataclass(frozen=True)
class Done:
    """A record that was worked on, and what came of it."""

    source: Message
    to: str
    value: bytes


@dataclass
class Batch:
    """What one commit covers."""

    done: list[Done] = field(default_factory=list)
    membership: Any = None

    def offsets(self) -> list[TopicPartition]:
        ends: dict[tuple[str, int], int] = {}
        for one in self.done:
            where = one.source.topic() or "", one.source.partition() or 0
            ends[where] = (one.source.offset() or 0) + 1
        return [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]


class Committer(Protocol):
    def take(self, done: list[Done]) -> None: ...

    def tick(self) -> None: ...


def produce(producer: Producer, done: Iterable[Done]) -> None:
    for one in done:
        while True:
            try:
                producer.produce(one.to, one.value, one.source.key())
                break
            except BufferError:
                producer.poll(0.01)


def transact(producer: Producer, batch: Batch) -> None:
    producer.begin_transaction()
    produce(producer, batch.done)
    producer.send_offsets_to_transaction(batch.offsets(), batch.membership)
    producer.commit_transaction()


class AtLeastOnce:
    """Every 0.1 s: flush, then commit the offsets."""

    def __init__(self, settings: MeshSettings, consumer: Consumer, spec: Spec) -> None:
        options = config.transactional_producer(settings, transactional_id="unused")
        del options["transactional.id"], options["transaction.timeout.ms"]
        self._producer, self._consumer = Producer(options), consumer
        self._open = Batch()
        self._next = time.perf_counter()

    def take(self, done: list[Done]) -> None:
        produce(self._producer, done)
        self._open.done += done

    def tick(self) -> None:
        self._producer.poll(0)
        if self._open.done and time.perf_counter() >= self._next:
            self._producer.flush()
            self._consumer.commit(offsets=self._open.offsets(), asynchronous=True)
            self._open = Batch()
            self._next = time.perf_counter() + COMMIT_EVERY_S


class PerBatch:
    """One transaction for what was read at once; nothing else happens meanwhile."""

    def __init__(self, settings: MeshSettings, consumer: Consumer, spec: Spec) -> None:
        self._producer = transactional(settings, "a")
        self._consumer = consumer

    def take(self, done: list[Done]) -> None:
        transact(self._producer, Batch(done, self._consumer.consumer_group_metadata()))

    def tick(self) -> None:
        pass


class Group:
    """headrace's policy: a thread commits whatever is done as soon as the last commit is through; two producers take turns."""

    def __init__(self, settings: MeshSettings, consumer: Consumer, spec: Spec) -> None:
        self._producers = deque(transactional(settings, slot) for slot in "ab")
        self._consumer = consumer
        self._pending: deque[Done] = deque()
        self._membership: Any = None
        self._something = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def take(self, done: list[Done]) -> None:
        self._membership = self._consumer.consumer_group_metadata()
        self._pending.extend(done)
        self._something.set()
        while len(self._pending) > 4 * MAX_TRANSACTION:
            time.sleep(0.001)

    def tick(self) -> None:
        pass

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            while self._pending:
                count = min(len(self._pending), MAX_TRANSACTION)
                batch = Batch([self._pending.popleft() for _ in range(count)], self._membership)
                transact(self._producers[0], batch)
                self._producers.rotate()


def transactional(settings: MeshSettings, slot: str) -> Producer:
    options = config.transactional_producer(settings, transactional_id=f"raw.{settings.instance}.{slot}")
    producer = Producer(options | {"message.max.bytes": MAX_MESSAGE})
    producer.init_transactions()
    return producer


MODES: dict[str, Callable[[MeshSettings, Consumer, Spec], Committer]] = {
    "idempotent": AtLeastOnce,
    "batch": PerBatch,
    "group": Group,
}


class Loop:
    def __init__(self, spec: Spec) -> None:
        settings = MeshSettings(topic_prefix=f"{spec.run}.", kafka_bootstrap_servers=spec.servers["kafka"])
        self._stages = stages(spec, settings)
        self._jobs, self._results = (settings.physical_topic(name) for name in ("agent.jobs", "agent.results"))
        options = config.consumer(settings, group="raw", client="raw") | {"auto.offset.reset": "earliest"}
        self._consumer = Consumer(options)
        self._committer = MODES[spec.mode](settings, self._consumer, spec)
        self._waiting: dict[str, deque[tuple[float, Message]]] = {topic: deque() for topic in self._stages}
        self._log, self._spec = CallLog(spec.calls), spec
        self._bounded = bool(spec.model_s or spec.tool_s)
        self._open = 0  # invocations taken in whose result is not made
        self._paused = False
        self._consumer.subscribe(list(self._stages))

    def run(self, stopping: threading.Event) -> None:
        ready()
        while not stopping.is_set():
            self._bound()
            self._read()
            if done := self._due():
                self._committer.take(done)
            self._committer.tick()
        self._consumer.close()

    def _bound(self) -> None:
        """Take no new jobs while ``in_flight`` invocations are open; finish what is started."""
        if not self._bounded or self._paused == (self._open >= self._spec.in_flight * (0.95 if self._paused else 1)):
            return
        self._paused = not self._paused
        jobs = [one for one in self._consumer.assignment() if one.topic == self._jobs]
        (self._consumer.pause if self._paused else self._consumer.resume)(jobs)

    def _read(self) -> None:
        due = min((line[0][0] for line in self._waiting.values() if line), default=None)
        patience = 0.1 if due is None else min(0.1, max(0.0, due - time.perf_counter()))
        first = self._consumer.poll(patience)
        room = BATCH if self._paused or not self._bounded else max(1, min(BATCH, self._spec.in_flight - self._open))
        now = time.perf_counter()
        for message in ([first] if first else []) + self._consumer.consume(room, 0):
            if message.error():
                continue
            topic = message.topic() or ""
            stage = self._stages[topic]
            self._open += topic == self._jobs
            self._waiting[topic].append((now + stage.wait_s, message))
            if self._spec.calls and stage.turn:
                self._log.note("s", orjson.loads(message.value() or b"")["id"], stage.turn)

    def _due(self) -> list[Done]:
        done, now = [], time.perf_counter()
        for topic, line in self._waiting.items():
            stage = self._stages[topic]
            while line and line[0][0] <= now:
                _, message = line.popleft()
                state = stage.step(orjson.loads(message.value() or b""))
                done.append(Done(message, stage.to, orjson.dumps(state)))
                self._open -= stage.to == self._results
                if self._spec.calls and stage.turn:
                    self._log.note("f", state["id"], stage.turn)
        return done


def stages(spec: Spec, settings: MeshSettings) -> dict[str, Stage]:
    def model1(state: Json) -> Json:
        return state | {"call": work.ask(state)}

    def tool(state: Json) -> Json:
        return state | {"rows": work.look_up(state["call"])}

    def model2(state: Json) -> Json:
        return work.result(state, work.answer(state, state["rows"]))

    name = settings.physical_topic
    return {
        name("agent.jobs"): Stage(name("tool.calls"), spec.model_s, model1, 1),
        name("tool.calls"): Stage(name("tool.results"), spec.tool_s, tool, 0),
        name("tool.results"): Stage(name("agent.results"), spec.model_s, model2, 2),
    }


def main() -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    Loop(Spec.given()).run(stopping)


if __name__ == "__main__":
    main()
