"""Kills, rebalances and broker restarts on real Kafka: nothing lost, nothing doubled, order kept.

Each test prints its seed. The long matrix of faults stands on these same parts.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from headrace.local.endpoints import Endpoints
from headrace.local.kafka import KafkaCluster
from headrace.messages.job import Job
from headrace.settings import MeshSettings
from tests.runtime.kafka import Seen, make_topics, read_all
from tests.runtime.relay import TOPICS, job, settings_for

ROOT = Path(__file__).parents[2]
KEYS = 50


class Load(threading.Thread):
    """Produces numbered jobs at ``rate`` a second until stopped; ``acknowledged`` are those that the broker confirmed."""

    def __init__(self, settings: MeshSettings, rate: float) -> None:
        super().__init__(daemon=True)
        self._settings, self._rate = settings, rate
        self._stopped = threading.Event()
        self.acknowledged: set[str] = set()

    def run(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._settings.kafka_bootstrap_servers, "acks": "all", "enable.idempotence": True}
        )
        number = 0
        while not self._stopped.wait(1 / self._rate):
            key, value = job(number, f"key-{number % KEYS}")
            name = f"job-{number}"
            producer.produce(
                self._settings.physical_topic("agent.jobs"),
                value,
                key,
                on_delivery=lambda error, _m, name=name: None if error else self.acknowledged.add(name),
            )
            producer.poll(0)
            number += 1
        assert producer.flush(60) == 0

    def finish(self) -> set[str]:
        self._stopped.set()
        self.join(70)
        assert not self.is_alive()
        return self.acknowledged


class Workers:
    """Worker processes in numbered slots."""

    def __init__(self, settings: MeshSettings) -> None:
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": settings.schema_registry_url,
            "HEADRACE_TOPIC_PREFIX": settings.topic_prefix,
            "HEADRACE_GROUP_PROTOCOL": settings.group_protocol,
            "HEADRACE_DRAIN_SECONDS": "10",
        }
        self.processes: dict[int, subprocess.Popen[str]] = {}

    def start(self, slot: int, *, wait: bool = True) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.relay_process"],
            cwd=ROOT,
            env=self._environment | {"HEADRACE_INSTANCE": str(slot)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes[slot] = process
        if wait:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def kill(self, slot: int) -> None:
        process = self.processes.pop(slot)
        process.kill()
        process.communicate()

    def stop(self, slot: int) -> None:
        process = self.processes.pop(slot)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
        assert process.returncode == 0


@contextmanager
def workers(settings: MeshSettings) -> Iterator[Workers]:
    pool = Workers(settings)
    try:
        yield pool
    finally:
        for slot in list(pool.processes):
            pool.kill(slot)


def wait_for_outputs(settings: MeshSettings, count: int, seconds: float = 90) -> list[Seen]:
    deadline = time.monotonic() + seconds
    while True:
        outputs = read_all(settings, "relayed")
        if len({record.value for record in outputs}) >= count or time.monotonic() > deadline:
            time.sleep(1.0)  # a doubled output would come after
            return read_all(settings, "relayed")
        time.sleep(0.3)


def check(settings: MeshSettings, acknowledged: set[str]) -> None:
    """Lost, doubled, out of order: none of it."""
    inputs = read_all(settings, "agent.jobs")
    outputs = wait_for_outputs(settings, len(inputs))
    names = [Job.model_validate_json(record.value).job_id for record in outputs]
    counts = Counter(names)
    assert acknowledged <= set(counts), f"lost: {sorted(acknowledged - set(counts))[:5]}"
    assert not [name for name, count in counts.items() if count > 1], "doubled"
    in_order, out_order = defaultdict(list), defaultdict(list)
    for record in inputs:
        in_order[record.key].append(Job.model_validate_json(record.value).job_id)
    for record, name in zip(outputs, names, strict=True):
        out_order[record.key].append(name)
    assert out_order == in_order
    copies = Counter(record.value for record in read_all(settings, "copied"))
    assert copies == Counter(record.value for record in outputs), "a torn transaction"
    print(f"{len(inputs)} records in, {len(outputs)} out, {len(acknowledged)} acknowledged")


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_workers_killed_under_load(stack: Endpoints, namespace: str, protocol: str) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    settings = settings_for(stack, namespace, group_protocol=protocol)
    make_topics(settings, TOPICS, partitions=4)
    with workers(settings) as pool:
        for slot in range(2):
            pool.start(slot)
        load = Load(settings, 150)
        load.start()
        for _ in range(4):
            time.sleep(rng.uniform(0.5, 1.5))
            slot = rng.choice(list(pool.processes))
            pool.kill(slot)
            pool.start(slot, wait=False)
        check(settings, load.finish())


def test_members_join_and_leave_under_load(stack: Endpoints, namespace: str) -> None:
    settings = settings_for(stack, namespace)
    make_topics(settings, TOPICS, partitions=4)
    with workers(settings) as pool:
        pool.start(0)
        load = Load(settings, 200)
        load.start()
        for slot in (1, 2):
            pool.start(slot)
            time.sleep(1.0)
        pool.stop(0)
        time.sleep(1.0)
        pool.start(0, wait=False)
        pool.stop(1)
        check(settings, load.finish())


@pytest.mark.xdist_group("three brokers")
def test_brokers_killed_in_turn(kafka_cluster3: KafkaCluster, stack: Endpoints, namespace: str) -> None:
    endpoints = Endpoints(kafka_cluster3.bootstrap_servers, stack.schema_registry_url, stack.database_url)
    settings = settings_for(endpoints, namespace)
    make_topics(settings, TOPICS, partitions=4, replicas=3)
    with workers(settings) as pool:
        for slot in range(2):
            pool.start(slot)
        load = Load(settings, 50)
        load.start()
        for broker in (1, 2, 3):
            time.sleep(1.0)
            kafka_cluster3.kill(broker)
            time.sleep(1.0)
            kafka_cluster3.start(broker)
        check(settings, load.finish())
