"""Two ingest processes on one mesh, deliveries that race across both, and what came of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.messages.event import Event, RawDelivery
from headrace.pipeline import STAGES
from headrace.settings import MeshSettings
from tests.ingest.records import github
from tests.runtime.kafka import Seen, read_all
from tests.support.children import Child, start_services
from tests.support.mesh import Mesh, until
from tests.support.ports import free_port

SLOTS = (0, 1)
CONFLICT = "ce_deliveryconflict"


def push(delivery_id: str, ref: str = "main") -> RawDelivery:
    return github("push", {"ref": ref, "repository": {"full_name": "acme/shop"}}, delivery_id=delivery_id)


class Replicas:
    """Ingest, twice. Use ``replicas``."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._ports = {slot: free_port() for slot in SLOTS}
        self._processes: dict[int, Child] = {}
        topic = self._topic = mesh.settings.physical_topic(RawDelivery.TOPIC)
        group = {"group.id": mesh.settings.topic_prefix + STAGES["ingest"].group}
        self._consumer = Consumer({"bootstrap.servers": mesh.settings.kafka_bootstrap_servers} | group)
        self._partitions = sorted(self._consumer.list_topics(topic, 10).topics[topic].partitions)

    def start(self, *slots: int) -> None:
        for slot in slots:
            own = {"HEADRACE_INSTANCE": str(slot), "HEADRACE_OPS_PORT": str(self._ports[slot])}
            log = self._mesh.logs / f"ingest-{slot}.log"
            self._processes[slot] = start_services("ingest", environment=self._mesh.environment | own, log=log)
        for slot in slots:
            until(lambda s=slot: self._status(s).get("partitions"), 60, f"replica {slot} has partitions")

    def kill(self, slot: int) -> None:
        """kill -9."""
        process = self._processes.pop(slot)
        process.kill()
        process.wait()

    def finished(self) -> dict[int, int]:
        """How many records each replica has finished since it began."""
        return {slot: self._status(slot).get("finished", 0) for slot in self._processes}

    def deliver(self, deliveries: Iterable[RawDelivery], copies: int) -> int:
        """Each delivery ``copies`` times at once, one copy after the other on another partition; how many records.

        The gateway keys copies alike, so that one replica gets them all; here they meet in both, which is harder.
        """
        producer = Producer({"bootstrap.servers": self._mesh.settings.kafka_bootstrap_servers, "acks": "all"})
        records = 0
        for delivery in deliveries:
            for copy in range(copies):
                partition = self._partitions[copy % len(self._partitions)]
                producer.produce(
                    self._topic, delivery.body, partition=partition, headers=list(delivery.headers.items())
                )
                records += 1
            producer.poll(0)
        assert producer.flush(60) == 0
        return records

    def drained(self, seconds: float = 60) -> None:
        """Wait until every record that was delivered is committed."""
        until(lambda: self._committed() >= self._delivered(), seconds, "everything is committed")

    def close(self) -> None:
        for slot in list(self._processes):
            self.kill(slot)
        self._consumer.close()

    def _committed(self) -> int:
        places = [TopicPartition(self._topic, partition) for partition in self._partitions]
        return sum(max(0, place.offset) for place in self._consumer.committed(places, 10))

    def _delivered(self) -> int:
        places = [TopicPartition(self._topic, partition) for partition in self._partitions]
        return sum(self._consumer.get_watermark_offsets(place, 10)[1] for place in places)

    def _status(self, slot: int) -> dict[str, Any]:
        assert self._processes[slot].poll() is None, (self._mesh.logs / f"ingest-{slot}.log").read_text()[-3000:]
        try:
            answer = httpx2.get(f"http://127.0.0.1:{self._ports[slot]}/status", trust_env=False, timeout=10)
        except httpx2.TransportError:
            return {}
        status: dict[str, Any] = answer.json()["services"].get("ingest", {})  # nothing while it starts
        return status


@contextmanager
def replicas(mesh: Mesh) -> Iterator[Replicas]:
    """Both running, with partitions each; gone afterwards."""
    pair = Replicas(mesh)
    try:
        pair.start(*SLOTS)
        until(lambda: all(pair._status(slot).get("partitions") for slot in SLOTS), 60, "both have partitions")
        yield pair
    finally:
        pair.close()


def events_by_delivery(settings: MeshSettings) -> dict[str, list[Seen]]:
    """What is on ``ingest.events``, by the id that the delivery came with."""
    found = defaultdict(list)
    for record in read_all(settings, Event.TOPIC):
        found[orjson.loads(record.value)["origin"]["delivery_id"]].append(record)
    return dict(found)


def race(pair: Replicas, settings: MeshSettings, ids: int, copies: int) -> float:
    """``copies`` of each of ``ids`` deliveries through both replicas, one of them killed on the way; then all again, with other
    bodies too. Seconds of the first two thirds. Raises ``AssertionError`` if an id has not one event for each of its bodies."""
    names = [f"race-{number}" for number in range(ids)]
    started = time.monotonic()
    pair.deliver((push(name) for name in names), copies)
    pair.drained()
    _each_once(settings, names)
    assert all(pair.finished().values()), "both replicas took part"

    pair.deliver((push(name) for name in names), copies)
    pair.kill(1)
    pair.start(1)
    pair.drained()
    _each_once(settings, names)
    took = time.monotonic() - started

    pair.deliver((push(name, "other") for name in names), copies)
    pair.drained()
    found = events_by_delivery(settings)
    assert found.keys() == set(names)
    for records in found.values():
        flags = sorted(record.headers.get(CONFLICT, "") for record in records)
        assert flags == ["", "true"], "an event for each body, the second one flagged"
        assert len({orjson.loads(record.value)["uid"] for record in records}) == 2
    return took


def _each_once(settings: MeshSettings, names: list[str]) -> None:
    found = events_by_delivery(settings)
    assert {name: len(records) for name, records in found.items()} == dict.fromkeys(names, 1)
    assert not any(CONFLICT in record.headers for records in found.values() for record in records)
