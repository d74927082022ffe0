"""Replays: a shadow beside the live mesh over the same events, and stored runs over their records again.

    python -m benchmarks.replays [--events 2000] [--rounds 3] [--runs 4000]

The mesh is real: ingest, reasoning, persistence as processes, one Kafka broker, Postgres, the model simulator over HTTP in a
process of its own, which answers at once. Live and shadow take turns, each round with events of its own; both rates are from the
first to the last result record of the round, so neither has the start of a process in it. Re-runs are of two-turn runs with a
tool call, and their rate is the command's own, reading included. Bytes are those of the records' keys, values and headers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx2
import structlog
from confluent_kafka import Producer
from tests.reasoning.bench import Bench
from tests.replay.lives import AGENT, job, live, with_tools
from tests.replay.stored import an_hour_ago, publish, store
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.ports import free_port
from tests.support.stack import own_database

from headrace.blobs.settings import open_blobs
from headrace.local.endpoints import Endpoints
from headrace.local.stack import Stack
from headrace.postgres.pool import open_pool
from headrace.runtime.scan import Scan
from headrace.settings import MeshSettings

SERVICES = ("ingest", "reasoning", "persistence")
LIVE, SHADOW = "agent.results", "shadow.results"
PATIENCE_S = 300.0
DEFINITION = """
name: bench
version: 1.0.0
category: benchmark
description: One model call an event.
system_prompt: Say how urgent it is.
model: openai:gpt-4o
triggers: [{source: bench, type: bench.happened}]
"""


class Span(NamedTuple):
    """Result records of one round: how many, from when to when (epoch ms), and their bytes."""

    records: int
    first_ms: int
    last_ms: int
    size: int

    @property
    def rate(self) -> float:
        return (self.records - 1) / max(self.last_ms - self.first_ms, 1) * 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=4_000, help="to be run again")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data:
        stack = Stack(Path(data))
        try:
            endpoints = stack.start()
            shadows(endpoints, options.events, options.rounds)
            reruns(endpoints, options.runs)
        finally:
            stack.stop()


def shadows(endpoints: Endpoints, events: int, rounds: int) -> None:
    with _simulator() as base_url, own_database(endpoints.database_url) as database:
        environment = {"OPENAI_API_KEY": "sk-bench", "OPENAI_BASE_URL": base_url, "HEADRACE_LOG_LEVEL": "error"}
        with running_mesh(endpoints, "shadows-", database, services=SERVICES, environment=environment) as mesh:
            _publish(mesh)
            found = [_round(mesh, number, events) for number in range(rounds + 1)][1:]  # the first one warms up
    live, shadow = [[one[side].rate for one in found] for side in (0, 1)]
    print(
        f"live mesh: {_shown(live)} runs/s; shadow: {_shown(shadow)} events/s, in {rounds} rounds of {events:,} events"
    )
    ratios = [one / other for one, other in zip(shadow, live, strict=True)]
    print(f"shadow against live: {_shown(ratios, digits=2)} times")


def _round(mesh: Mesh, number: int, events: int) -> tuple[Span, Span]:
    """Live, then its shadow."""
    since = datetime.now(UTC)
    time.sleep(0.01)
    _produce(mesh.settings, number, events)
    live = until(lambda: _span(mesh.settings, LIVE, since, events), PATIENCE_S, "the live runs")
    replay = ("replay", "shadow", "--agent", "bench", "--model", "openai:other", "--name", f"round-{number}")
    chosen = ("--from", since.isoformat(), "--baseline", "0", "--max-in-flight", "256", "--yes", "--json")
    with tempfile.TemporaryDirectory() as out:
        report = json.loads(mesh.cli(*replay, *chosen, "--out", out).stdout)
    assert report["account"]["replayed"] == events, report["account"]
    shadow = _span(mesh.settings, SHADOW, since, events)
    assert shadow is not None
    return live, shadow


def reruns(endpoints: Endpoints, runs: int) -> None:
    with (
        own_database(endpoints.database_url) as database,
        running_mesh(endpoints, "reruns-", database, services=()) as mesh,
    ):
        asyncio.run(_stored(mesh.settings, runs))
        size = sum(
            span.size
            for topic in ("agent.jobs", "tool.calls", "tool.results", LIVE)
            if (span := _span(mesh.settings, topic, datetime.fromtimestamp(0, UTC), 0))
        )
        rates, cpu_ms = zip(*(_rerun(mesh, runs) for _ in range(3)), strict=True)
    print(f"re-run: {_shown(rates)} runs/s of {runs:,} two-turn runs, {_shown(cpu_ms, digits=2)} CPU-ms each")
    print(f"read: {size / 1e6:.1f} MB of records, {size / runs / 1e3:.1f} KB a run")


def _rerun(mesh: Mesh, runs: int) -> tuple[float, float]:
    """Runs a second by the command's own clock; CPU-ms a run, the command's start included."""
    before = _children_s()
    told = json.loads(mesh.cli("replay", "run", "--all", "--json").stdout)
    assert told["verdicts"] == {"identical": runs}, told
    return float(told["runs_per_s"]), (_children_s() - before) / runs * 1_000


def _children_s() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _stored(settings: MeshSettings, runs: int) -> None:
    """Runs as reasoning writes them, in the topics and in the index."""
    await publish(settings, AGENT)
    async with open_pool(settings) as pool:
        blobs = open_blobs(settings, pool)
        for start in range(0, runs, 1_000):
            lives = []
            for number in range(start, min(runs, start + 1_000)):
                bench = Bench(with_tools({"n": number}), AGENT, blobs=blobs)
                a_job = job(job_id=f"run-{number}")
                lives.append(await live(bench, a_job, [[{"x": number}]], at_ms=an_hour_ago() + number))
            await store(settings, lives)


def _span(settings: MeshSettings, topic: str, since: datetime, count: int) -> Span | None:
    """The records of ``topic`` since then, once there are ``count``."""

    async def read() -> list[tuple[int, int]]:
        async with Scan(settings, [topic]) as scan:
            return [(record.timestamp_ms, _size(record)) async for batch in scan for record in batch]

    at_ms = since.timestamp() * 1_000
    found = [one for one in asyncio.run(read()) if one[0] >= at_ms]
    if not found or len(found) < count:
        time.sleep(1.0)
        return None
    times = [at for at, _ in found]
    return Span(len(found), min(times), max(times), sum(size for _, size in found))


def _size(record: object) -> int:
    key, value, headers = (getattr(record, name) for name in ("key", "value", "headers"))
    return len(key or b"") + len(value or b"") + sum(len(name) + len(text or b"") for name, text in headers)


def _produce(settings: MeshSettings, number: int, events: int) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "acks": "all", "linger.ms": 20})
    for index in range(events):
        name = f"e-{number}-{index}"
        body = {"source": "bench", "event_type": "bench.happened", "id": name, "payload": {"n": index}}
        producer.produce(settings.physical_topic("ingest.raw"), json.dumps(body), name)
        producer.poll(0)
    assert producer.flush(60) == 0


def _publish(mesh: Mesh) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(DEFINITION)
        file.flush()
        mesh.cli("agents", "publish", file.name)


@contextmanager
def _simulator() -> Iterator[str]:
    """The base URL of a model that answers at once, in a process of its own."""
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as script:
        json.dump({"rules": [{"match": {}, "reply": {"text": "not urgent"}}]}, script)
        script.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.simulator", "--port", str(port), "--script", script.name]
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(url), 30, "the simulator answers")
            yield f"{url}/v1"
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).status_code < 500
    except httpx2.TransportError:
        return False


def _shown(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
