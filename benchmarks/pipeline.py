"""The pipeline from ``agent.jobs`` to ``agent.results`` beside a bare exactly-once loop over the same three hops.

    python -m benchmarks.pipeline [--invocations 2000] [--runs 3] [--json FILE]

Each invocation is two model calls and one tool call in between: job -> tool.calls -> tool.results -> result. The services are real
processes (one ``reasoning``, one ``tools``), the model is the model simulator over HTTP in a process of its own, the tool an HTTP
server; and once more in one process where model and tool are waits inside it (``waiting_worker.py``), which leaves the mesh's own
part. Runs alternate between the yardstick (``yardstick.py``, no work at all) and headrace, on one embedded broker, with topics of
their own each time. Two loads:

- *burst*: all invocations are waiting when the clock starts; invocations a second, CPU of the two processes;
- *paced*: 20 a second; end to end from the job's timestamp to the moment a ``read_committed`` consumer has the result.

Printed are medians over the runs. On shared cores only the ratios mean something: the model simulator takes from the same ones.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import msgspec
import orjson
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.support.mesh import running_mesh, until
from tests.support.ports import free_port

from headrace.local.endpoints import VARIABLES, Endpoints
from headrace.local.stack import Stack
from headrace.messages.job import Job
from headrace.settings import MeshSettings

ROOT = Path(__file__).parents[1]
PACED_PER_SECOND = 20
PATIENCE_S = 300.0
BARE = "bare loop (no calls)"
AGENT = """
name: bench
version: 1.0.0
category: benchmark
description: Two model calls and a tool call.
system_prompt: You find flights.
model: openai:gpt-4o
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
"""


@dataclass(frozen=True)
class Case:
    """Latencies of a model call and of a tool call."""

    name: str
    model_ms: int
    tool_ms: int

    @property
    def floor_ms(self) -> int:
        return 2 * self.model_ms + self.tool_ms


CASES = (Case("zero latency", 0, 0), Case("500 ms model, 200 ms tool", 500, 200))


@dataclass(frozen=True)
class Figures:
    """Of one run, or the medians of several. CPU is of the processes under test, per 1,000 invocations."""

    per_second: float
    cpu_s_per_1000: float
    p50_ms: float
    p99_ms: float
    peak_rss_mb: float


class Processes:
    """What the processes under test took."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)

    def peak_rss_mb(self) -> float:
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in self._processes]
        return sum(int(text.split("VmHWM:")[1].split()[0]) for text in texts) / 1024


class Results:
    """Reads ``agent.results`` from its end as it is now; ``latencies`` by job id."""

    def __init__(self, settings: MeshSettings) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": "bench",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
            }
        )
        topic = settings.physical_topic("agent.results")
        partitions = self._consumer.list_topics(topic, 10).topics[topic].partitions
        ends = [self._consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions]
        self._consumer.assign([TopicPartition(topic, p, end) for p, end in zip(partitions, ends, strict=True)])

    def wait(self, sent: dict[str, float]) -> tuple[list[float], float]:
        """Milliseconds of each of ``sent`` (job id -> epoch seconds), and when the last one came."""
        latencies: dict[str, float] = {}
        deadline = time.time() + PATIENCE_S
        while len(latencies) < len(sent):
            if time.time() > deadline:
                raise SystemExit(f"{len(latencies)} of {len(sent)} came back: the figure would be worth nothing")
            message = self._consumer.poll(0.5)
            if message is not None and not message.error():
                key = (message.key() or b"").decode()
                if key in latencies:
                    raise SystemExit(f"{key} came twice")
                latencies[key] = (time.time() - sent[key]) * 1000
        self._consumer.close()
        return list(latencies.values()), time.time()


def jobs(count: int) -> list[Job]:
    return [
        Job(job_id=str(uuid.uuid4()), agent="bench", prompt="flights from NYC", timeout_sec=600) for _ in range(count)
    ]


def send(settings: MeshSettings, batch: Sequence[Job], per_second: float | None) -> dict[str, float]:
    """Produce to ``agent.jobs``; job id -> when."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "acks": "all", "linger.ms": 0})
    topic, sent, began = settings.physical_topic("agent.jobs"), {}, time.monotonic()
    for number, job in enumerate(batch):
        if per_second:
            time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        sent[job.job_id] = time.time()
        producer.produce(topic, msgspec.json.encode(job), job.job_id)
        producer.poll(0)
    producer.flush()
    return sent


def measured(settings: MeshSettings, pids: Sequence[int], invocations: int) -> Figures:
    processes = Processes(pids)
    results = Results(settings)
    results.wait(send(settings, jobs(20), None))  # warm: connections, imports, caches
    cpu, results = processes.cpu_s(), Results(settings)
    began = time.time()
    _, ended = results.wait(send(settings, jobs(invocations), None))
    cpu = processes.cpu_s() - cpu
    results = Results(settings)
    paced, _ = results.wait(send_in_background(settings, max(100, invocations // 10)))
    quantiles = statistics.quantiles(paced, n=100)
    return Figures(
        invocations / (ended - began), cpu / invocations * 1000, quantiles[49], quantiles[98], processes.peak_rss_mb()
    )


def send_in_background(settings: MeshSettings, count: int) -> dict[str, float]:
    """Paced. A live dictionary would race with the reader, so the times are planned: what is late counts against us."""
    batch = jobs(count)
    began = time.time() + 0.2
    planned = {job.job_id: began + number / PACED_PER_SECOND for number, job in enumerate(batch)}

    def work() -> None:
        time.sleep(0.2)
        send(settings, batch, PACED_PER_SECOND)

    threading.Thread(target=work, daemon=True).start()
    return planned


@contextmanager
def process(
    *argv: str, environment: dict[str, str] | None = None, quiet: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    env, errors = os.environ | (environment or {}), subprocess.DEVNULL if quiet else None
    started = subprocess.Popen([sys.executable, "-m", *argv], cwd=ROOT, env=env, stderr=errors)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def of_headrace(stack: Endpoints, case: Case, invocations: int) -> Figures:
    model_port, tool_port = free_port(), free_port()
    call = {
        "name": "execute_pipeline",
        "arguments": {
            "session_id": "bench",
            "pipeline": [
                {"step": "http_request", "url": f"http://127.0.0.1:{tool_port}/flights"},
                {"step": "table_sort", "field": "price", "order": "asc"},
                {"step": "top_k", "k": 2},
            ],
        },
    }
    script = {
        "latency_ms": case.model_ms,
        "rules": [
            {"match": {"turn": 0}, "reply": {"tool_calls": [call]}},
            {"match": {"turn": 1}, "reply": {"text": "C and B are the cheapest"}},
        ],
    }
    environment = {
        "OPENAI_API_KEY": "sk-benchmark",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
        "HEADRACE_EGRESS_ALLOW_PRIVATE": f"127.0.0.1:{tool_port}",
        "HEADRACE_LOG_LEVEL": "warning",
    }
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        (folder / "script.json").write_bytes(orjson.dumps(script))
        (folder / "agent.yaml").write_text(AGENT)
        exits.enter_context(
            process(
                "headrace.simulator",
                *("--port", str(model_port), "--script", str(folder / "script.json"), "--keep", "0"),
                quiet=True,
            )
        )
        exits.enter_context(
            process("benchmarks.tool_server", "--port", str(tool_port), "--latency-ms", str(case.tool_ms))
        )
        mesh = exits.enter_context(
            running_mesh(
                stack,
                f"b{uuid.uuid4().hex[:8]}.",
                stack.database_url,
                services=("reasoning", "tools"),
                environment=environment,
            )
        )
        mesh.cli("agents", "publish", str(folder / "agent.yaml"))
        time.sleep(1)  # the definition reaches both
        return measured(mesh.settings, [one.pid for one in mesh.processes.values()], invocations)


def of_waiting(stack: Endpoints, case: Case, invocations: int) -> Figures:
    prefix, port = f"b{uuid.uuid4().hex[:8]}.", free_port()
    with running_mesh(stack, prefix, stack.database_url, services=()) as mesh, ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        (folder / "agent.yaml").write_text(AGENT)
        mesh.cli("agents", "publish", str(folder / "agent.yaml"))
        given = {name: mesh.environment[name] for name in (*VARIABLES.values(), "HEADRACE_TOPIC_PREFIX")}
        worker = ("benchmarks.waiting_worker", "--model-ms", str(case.model_ms), "--tool-ms", str(case.tool_ms))
        started = exits.enter_context(process(*worker, environment=given | {"HEADRACE_OPS_PORT": str(port)}))

        def ready() -> bool:
            assert started.poll() is None, "the worker ended"
            try:
                return httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
            except httpx2.TransportError:
                return False

        until(ready, 60, "the worker is ready")
        return measured(mesh.settings, [started.pid], invocations)


def of_yardstick(stack: Endpoints, _case: Case, invocations: int) -> Figures:
    prefix = f"b{uuid.uuid4().hex[:8]}."
    with running_mesh(stack, prefix, stack.database_url, services=()) as mesh, ExitStack() as exits:
        given = {"KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers, "HEADRACE_TOPIC_PREFIX": prefix}
        loops = (
            ("agent.jobs>tool.calls", "tool.results>agent.results"),
            ("tool.calls>tool.results",),
        )
        started = [exits.enter_context(process("benchmarks.yardstick", *hops, environment=given)) for hops in loops]
        return measured(mesh.settings, [one.pid for one in started], invocations)


def median(figures: Sequence[Figures]) -> Figures:
    return Figures(
        *(statistics.median(values) for values in zip(*(asdict(one).values() for one in figures), strict=True))
    )


def compared(ours: Figures, bare: Figures, case: Case) -> str:
    p50, p99 = ours.p50_ms - case.floor_ms, ours.p99_ms - case.floor_ms
    cpu = ours.cpu_s_per_1000 / bare.cpu_s_per_1000
    return (
        f"{ours.per_second / bare.per_second:.2f} of the bare loop's rate, {cpu:.0f} of its CPU; "
        f"latency above the calls' own: P50 {p50:.0f} ms ({p50 / bare.p50_ms:.1f} of it), P99 {p99:.0f} ms"
    )


def row(name: str, figures: Figures) -> str:
    return (
        f"{name:<28} {figures.per_second:9,.0f}/s {figures.cpu_s_per_1000:8.2f} {figures.p50_ms:9.1f} "
        f"{figures.p99_ms:9.1f} {figures.peak_rss_mb:9.0f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--invocations", type=int, default=2_000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--json", type=Path, help="write all figures there")
    options = arguments.parse_args()
    found: dict[str, dict[str, list[Figures]]] = {}
    subjects: dict[str, Callable[[Endpoints, Case, int], Figures]] = {
        BARE: of_yardstick,
        "headrace": of_headrace,
        "headrace, waits inside": of_waiting,
    }
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data, ExitStack() as exits:
        stack = Stack(Path(data))
        exits.callback(stack.stop)
        endpoints = stack.start()
        print(f"{'':<28} {'rate':>11} {'CPU s/k':>8} {'P50 ms':>9} {'P99 ms':>9} {'RSS MB':>9}")
        for case in CASES:
            of_case = found.setdefault(case.name, {name: [] for name in subjects})
            for _ in range(options.runs):
                for name, subject in subjects.items():
                    of_case[name].append(subject(endpoints, case, options.invocations))
            print(f"{case.name}: {case.floor_ms} ms of it are the calls' own")
            bare = median(of_case[BARE])
            for name in subjects:
                ours = median(of_case[name])
                print(row("  " + name, ours), flush=True)
                if name != BARE:
                    print(f"    {compared(ours, bare, case)}")
    if options.json:
        shown = {case: {name: [asdict(one) for one in runs] for name, runs in by.items()} for case, by in found.items()}
        options.json.write_bytes(orjson.dumps(shown, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
