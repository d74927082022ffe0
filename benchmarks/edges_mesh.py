"""What the edge benchmarks share: a prepared mesh without built-in agents, a backlog, and a watch on processes and commits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import psutil
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from tests.support.mesh import GITHUB_SECRET, Mesh
from tests.support.stack import fresh_database

from headrace.blobs.memory import MemoryBlobs
from headrace.local.endpoints import Endpoints
from headrace.messages.base import Message
from headrace.messages.codec import Encoded
from headrace.runtime.api import Send
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

ROOT = Path(__file__).parents[1]
PATIENCE_S = 600.0


@contextmanager
def prepared(stack: Endpoints) -> Iterator[Mesh]:
    """Topics, schemas and a database of its own, no agents and no services; gone afterwards."""
    with ExitStack() as exits:
        runner = exits.enter_context(asyncio.Runner())
        database = fresh_database(stack.database_url)
        exits.callback(lambda: runner.run(database.__aexit__(None, None, None)))
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
            "DATABASE_URL": runner.run(database.__aenter__()),
            "HEADRACE_TOPIC_PREFIX": f"b{uuid.uuid4().hex[:8]}.",
            "HEADRACE_WEBHOOK_SECRET_GITHUB": GITHUB_SECRET,
            "HEADRACE_GATEWAY_BACKLOG": "4096",
        }
        logs = exits.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-"))
        mesh = Mesh(environment, Path(logs))
        exits.callback(mesh.close)
        mesh.cli("prepare", "--no-agents")
        yield mesh


def publish_agent(mesh: Mesh, definition: str) -> None:
    path = mesh.logs / "agent.yaml"
    path.write_text(definition)
    mesh.cli("agents", "publish", str(path))


@contextmanager
def process(mesh: Mesh, *argv: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m ARGV`` in the mesh's environment; ended by SIGTERM."""
    started = subprocess.Popen(
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        env=mesh.environment | dict(environment or {}),
        stderr=(mesh.logs / f"{argv[0]}.log").open("ab"),
    )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children, so far."""
    one = psutil.Process(pid)
    total = 0.0
    for member in (one, *one.children(recursive=True)):
        try:
            total += sum(member.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def status_of(mesh: Mesh, service: str) -> dict[str, Any]:
    """What the service's operations endpoint says of it."""
    answer = httpx2.get(f"http://127.0.0.1:{mesh.ops[service]}/status", trust_env=False, timeout=10)
    return cast("dict[str, Any]", answer.json()["services"][service])


async def _encoded(settings: MeshSettings, messages: Iterable[Message]) -> list[Encoded]:
    wire = Wire("bench", settings, MemoryBlobs())
    await wire.open()
    try:
        return await wire.encode_all([Send(message) for message in messages], {})
    finally:
        await wire.close()


def write_backlog(settings: MeshSettings, messages: Iterable[Message]) -> int:
    """Into their topics, without transactions, so that each offset is a record; how many."""
    records = asyncio.run(_encoded(settings, messages))
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "acks": "all", "compression.type": "lz4"}
    )
    for number, record in enumerate(records):
        topic = settings.physical_topic(record.topic)
        producer.produce(topic, record.value, record.key, headers=cast("Any", record.headers))
        if number % 1_000 == 999:
            producer.flush()
    producer.flush()
    return len(records)


@dataclass(frozen=True)
class Drain:
    """Of a backlog: records a second between the first and the last commit, and from the start of the process; CPU seconds
    of the process for 1,000 records, between the commits."""

    per_second: float
    with_start: float
    cpu_s_per_1000: float


class Progress:
    """A group's committed records on ``topics``, seen without joining it. Use it as a context manager."""

    def __init__(self, settings: MeshSettings, group: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.topic_prefix + group}
        )
        self._partitions = []
        self._seen = 0
        for topic in map(settings.physical_topic, topics):
            numbers = self._consumer.list_topics(topic, 10).topics[topic].partitions
            self._partitions += [TopicPartition(topic, number) for number in numbers]

    def committed(self) -> int:
        with suppress(KafkaException):  # the group's coordinator may not be known yet
            self._seen = sum(max(0, entry.offset) for entry in self._consumer.committed(self._partitions, 10))
        return self._seen

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def drained(progress: Progress, pid: int, records: int, started: float) -> Drain:
    """Follows process ``pid``, started at ``started`` (``perf_counter``), until ``records`` are committed."""
    first: tuple[float, int, float] | None = None
    while True:
        done, now = progress.committed(), time.perf_counter()
        if done and first is None:
            first = now, done, cpu_s(pid)
        if done >= records:
            break
        if now - started > PATIENCE_S or not psutil.pid_exists(pid):
            raise SystemExit(f"{done} of {records} records are committed: the figure would be worth nothing")
        time.sleep(0.02)
    assert first is not None
    cpu = cpu_s(pid) - first[2]
    between = records - first[1]
    if between < records / 2:
        raise SystemExit("more than half of the backlog was in the first commit: give it more --records")
    return Drain(between / (now - first[0]), records / (now - started), cpu / between * 1_000)


def environment_of(mesh: Mesh, **more: str) -> dict[str, str]:
    return mesh.environment | {"HEADRACE_LOG_LEVEL": os.environ.get("HEADRACE_LOG_LEVEL", "info")} | more
