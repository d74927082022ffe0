"""Two replicas of the real service, killed and stopped in turn while records keep coming: one entry each, every chain whole."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from headrace.audit.verify import verify
from headrace.local.endpoints import Endpoints
from headrace.settings import MeshSettings
from tests.audit.mesh import audited, by_chain, jobs, make_audit_topics, sources
from tests.runtime.relay import settings_for
from tests.support.children import Child, start_services

PARTITIONS = 3
TOPICS = ("agent.jobs", "tool.calls", "ingest.raw", "tools.dlq")  # what the values are does not matter here
RATE = 400.0


class Load(threading.Thread):
    """Produces at ``RATE`` a second, over several topics, until stopped."""

    def __init__(self, settings: MeshSettings) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self.stop = threading.Event()

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self._settings.kafka_bootstrap_servers, "enable.idempotence": True})
        number = 0
        while not self.stop.wait(0.02):
            for key, value, _ in jobs(int(RATE * 0.02), number):
                producer.produce(self._settings.physical_topic(TOPICS[number % len(TOPICS)]), value, key)
                number += 1
            producer.poll(0)
        assert producer.flush(60) == 0


class Replicas:
    """``headrace run audit`` in numbered slots; each process logs to a file of its own."""

    def __init__(self, settings: MeshSettings, logs: Path) -> None:
        self._logs = logs
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": settings.schema_registry_url,
            "HEADRACE_TOPIC_PREFIX": settings.topic_prefix,
            "HEADRACE_GROUP_PROTOCOL": settings.group_protocol,
            "HEADRACE_DRAIN_SECONDS": "10",
        }
        self.processes: dict[int, Child] = {}
        self._log: dict[int, Path] = {}
        self._started = 0

    def start(self, slot: int) -> None:
        self._started += 1
        self._log[slot] = self._logs / f"{self._started}.log"
        own = {"HEADRACE_INSTANCE": str(slot)}
        self.processes[slot] = start_services("audit", environment=self._environment | own, log=self._log[slot])

    def kill(self, slot: int) -> None:
        process = self.processes.pop(slot)
        process.kill()
        process.wait()

    def stop(self, slot: int) -> None:
        process = self.processes.pop(slot)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, self._log[slot].read_text()[-3000:]

    async def works(self, slot: int) -> None:
        """Until it has partitions."""
        async with asyncio.timeout(90):
            while "partitions_assigned" not in self._log[slot].read_text():
                assert self.processes[slot].poll() is None, self._log[slot].read_text()[-3000:]
                await asyncio.sleep(0.05)


@contextmanager
def replicas(settings: MeshSettings, logs: Path) -> Iterator[Replicas]:
    pool = Replicas(settings, logs)
    try:
        yield pool
    finally:
        for slot in list(pool.processes):
            pool.kill(slot)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_audit_replicas_killed_under_load(
    stack: Endpoints, namespace: str, protocol: str, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    settings = settings_for(stack, namespace, group_protocol=protocol)
    make_audit_topics(settings, partitions=PARTITIONS)
    load = Load(settings)
    with replicas(settings, tmp_path) as pool:
        pool.start(0)
        pool.start(1)
        load.start()
        try:
            for number in range(6):
                slot = number % 2
                await pool.works(slot)
                await asyncio.sleep(rng.uniform(0.2, 2.0))
                (pool.stop if number % 3 == 2 else pool.kill)(slot)
                pool.start(slot)
        finally:
            load.stop.set()
            await asyncio.to_thread(load.join, 70)
        expected = await sources(settings)
        found = await audited(settings, sum(map(len, expected.values())), seconds=120)
        assert by_chain(found) == expected
        assert {chain.rpartition("/")[0] for chain in expected} == set(TOPICS)
        for slot in list(pool.processes):
            await pool.works(slot)  # before that SIGTERM finds nobody who would drain
            pool.stop(slot)
    report = await verify(settings, deep=True)
    assert [chain.broken for chain in report.chains if chain.broken] == []
    assert report.records == report.entries == len(found)
