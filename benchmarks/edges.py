"""The edges of the mesh: gateway, ingest, persistence and audit, alone and together, and how fast all of it starts.

    python -m benchmarks.edges [--only gateway,ingest,persistence,audit,mesh,start] [--rounds 3] [--json FILE]

On one embedded stack, each round on topics and a database of its own; figures are medians over the rounds, each beside a yardstick
that runs in the same round. All services are as a user runs them: exactly once, schemas checked, logs at level info.

- *gateway*: signed 2 KB webhooks, closed loop: acknowledged a second, latency, and the gateway's CPU, which gives the rate of one
  core; then paced at half of ``--gateway-target``, latency counted from when a webhook was due. Each has a warm-up of its own kind
  before it: few large and many small transactions are different work to the broker, which compiles what it meets. Yardstick:
  uvicorn and Starlette that read the body and answer 202.
- *ingest*, *persistence*, *audit*: one process drains a backlog. The rate is between its first and its last commit; with start-up,
  from ``exec``. Ingest reads webhooks that trigger nothing, and ones that each trigger a job. Yardstick: a bare librdkafka loop
  that reads (and for ingest and audit writes) the same records exactly once; for persistence also COPY of its ``run_steps``.
- *mesh*: signed webhooks to results in Postgres with every record audited: two model calls and a tool call each, as waits of
  0 ms inside of one process (``waiting_worker.py``). CPU by process.
- *start*: ``headrace up --detach`` until it returns, on an empty data directory and on one that was used before, with the cache of
  server software warm. Yardstick: the servers alone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import orjson
import psutil
from benchmarks.accounts import spread
from benchmarks.edges_load import Answers, Generator, body_of
from benchmarks.edges_mesh import (
    PATIENCE_S,
    Drain,
    Progress,
    cpu_s,
    drained,
    prepared,
    process,
    publish_agent,
    status_of,
    write_backlog,
)
from tests.ingest.records import github
from tests.replay.mesh import runs as records_of
from tests.support.mesh import GITHUB_SECRET, Mesh, until
from tests.support.ports import free_port

from benchmarks import edges_bare
from headrace.local.endpoints import Endpoints
from headrace.local.stack import Stack
from headrace.messages.base import Message
from headrace.pipeline import STAGES

ROOT = Path(__file__).parents[1]
_WARM_S = 8.0  # at the pace that is measured
Figures = dict[str, float]
TRIGGERED = """
name: bench
version: 1.0.0
category: benchmark
description: Two model calls and a tool call.
system_prompt: You review pull requests.
model: openai:gpt-4o
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
triggers:
  - type: com.github.pull_request.opened
"""


# --- gateway -------------------------------------------------------------------------------------------------------------


def gateway(stack: Endpoints, options: argparse.Namespace) -> Figures:
    found: Figures = {}
    with prepared(stack) as mesh:
        port = free_port()
        with process(mesh, "benchmarks.edges_bare", "app", "--port", str(port)) as bare:
            until(lambda: _listens(port), 30, "the bare app listens")
            found |= _loaded("bare app", bare.pid, port, options)
        mesh.start("gateway")
        until(lambda: mesh.gateway.get("/readyz").status_code == 200, 30, "the gateway is ready")
        pid = mesh.processes["gateway"].pid
        found |= _loaded("gateway", pid, mesh.gateway_port, options)
        found |= _paced(pid, mesh.gateway_port, options)
    found["gateway: of the bare app's rate"] = found["gateway: a second"] / found["bare app: a second"]
    return found


def _loaded(name: str, pid: int, port: int, options: argparse.Namespace) -> Figures:
    def load(first: int, count: int) -> Answers:
        return Generator(port, GITHUB_SECRET, count, connections=options.connections, first=first).run()

    load(0, 10_000)  # warm: connections, caches, the compilers of the broker
    generator = Generator(port, GITHUB_SECRET, options.webhooks, connections=options.connections, first=1_000_000)
    cpu = cpu_s(pid)
    answers = generator.run()
    cpu = cpu_s(pid) - cpu
    return {
        f"{name}: a second": answers.per_second,
        f"{name}: a second and core": options.webhooks / cpu,
        f"{name}: CPU s per 1,000": cpu / options.webhooks * 1_000,
        f"{name}: P50 ms": answers.p50_ms,
        f"{name}: P99 ms": answers.p99_ms,
        f"{name}: generator's CPU s per 1,000": answers.cpu_s / options.webhooks * 1_000,
    }


def _paced(pid: int, port: int, options: argparse.Namespace) -> Figures:
    """At half of the target, over seconds enough for a P99 that no single pause decides."""
    half = options.gateway_target / 2

    def load(first: int, seconds: float) -> Answers:
        count = round(half * seconds)
        return Generator(
            port, GITHUB_SECRET, count, connections=options.connections, first=first, per_second=half
        ).run()

    load(5_000_000, _WARM_S)
    cpu = cpu_s(pid)
    answers = load(6_000_000, options.paced_seconds)
    cpu = cpu_s(pid) - cpu
    name = "gateway, paced at half of the target"
    return {
        f"{name}: P50 ms": answers.p50_ms,
        f"{name}: P99 ms": answers.p99_ms,
        f"{name}: generator's own lateness, P99 ms": answers.late_p99_ms,
        f"{name}: CPU s per 1,000": cpu / (half * options.paced_seconds) * 1_000,
    }


def _listens(port: int) -> bool:
    return any(one.laddr.port == port for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN)


# --- backlogs --------------------------------------------------------------------------------------------------------------


def ingest(stack: Endpoints, options: argparse.Namespace) -> Figures:
    found: Figures = {}
    for what, event in (("ingest", "discussion"), ("ingest with a job each", "pull_request")):
        with prepared(stack) as mesh:
            publish_agent(mesh, TRIGGERED)
            settings = mesh.settings
            backlog = (
                github(event, body_of(number, 1_000), delivery_id=f"backlog-{number}")
                for number in range(options.records)
            )
            records = write_backlog(settings, backlog)
            found |= _drained(mesh, "ingest", records, what, to="ingest.events")
    return found


def persistence(stack: Endpoints, options: argparse.Namespace) -> Figures:
    with prepared(stack) as mesh:
        records = write_backlog(mesh.settings, _runs(options.records))
        found = _drained(mesh, "persistence", records, "persistence")
        url = mesh.environment["DATABASE_URL"]
        return found | {"COPY of the same steps, rows a second": edges_bare.copy_rate(url, "run_steps")}


def audit(stack: Endpoints, options: argparse.Namespace) -> Figures:
    with prepared(stack) as mesh:
        records = write_backlog(mesh.settings, _runs(options.records))
        return _drained(mesh, "audit", records, "audit", to="audit.events")


def _runs(records: int) -> list[Message]:
    """Runs of five records, over 1,000 keys."""
    return spread(records_of(0, records // 5, turns=1))


def _drained(mesh: Mesh, service: str, records: int, what: str, to: str | None = None) -> Figures:
    stage = STAGES[service]
    topics = [topic for topic in stage.consumes if not topic.endswith(".dlq") and topic != "agent.definitions"]
    bare = ("benchmarks.edges_bare", "loop", *topics, *(("--to", to) if to else ()))
    found: Figures = {}
    for name, group, argv in (
        (f"{what}, bare loop", "bare.edges", bare),
        (what, stage.group, ("headrace", "run", service)),
    ):
        started, environment = time.perf_counter(), {"HEADRACE_OPS_PORT": str(free_port())}
        with (
            Progress(mesh.settings, group, topics) as progress,
            process(mesh, *argv, environment=environment) as worker,
        ):
            found |= _figures(name, drained(progress, worker.pid, records, started))
    found[f"{what}: of the bare loop's rate"] = found[f"{what}: a second"] / found[f"{what}, bare loop: a second"]
    return found


def _figures(name: str, drain: Drain) -> Figures:
    return {
        f"{name}: a second": drain.per_second,
        f"{name}: a second with start-up": drain.with_start,
        f"{name}: CPU s per 1,000": drain.cpu_s_per_1000,
    }


# --- the whole mesh --------------------------------------------------------------------------------------------------------

EDGES = ("gateway", "ingest", "persistence", "audit", "analytics")
RECORDS = {"ingest": 1, "persistence": 5, "audit": 6}  # of one webhook


def whole_mesh(stack: Endpoints, options: argparse.Namespace, servers: dict[str, int]) -> Figures:
    with prepared(stack) as mesh, ExitStack() as exits:
        publish_agent(mesh, TRIGGERED)
        mesh.start(*EDGES)
        port = free_port()
        working = exits.enter_context(
            process(
                mesh,
                *("benchmarks.waiting_worker", "--model-ms", "0", "--tool-ms", "0"),
                environment={"HEADRACE_OPS_PORT": str(port)},
            )
        )
        until(lambda: _listens(port), 60, "the worker is there")
        pids = {name: one.pid for name, one in mesh.processes.items()} | {"reasoning and tools": working.pid} | servers
        warm = Generator(mesh.gateway_port, GITHUB_SECRET, 200, connections=32, first=0)
        warm.run()
        _await(mesh, 200)
        load = Generator(
            mesh.gateway_port, GITHUB_SECRET, options.invocations, connections=options.connections, first=1_000_000
        )
        before, began = {name: cpu_s(pid) for name, pid in pids.items()}, time.perf_counter()
        answers = load.run()
        _await(mesh, 200 + options.invocations)
        seconds = time.perf_counter() - began
        cpu = {name: cpu_s(pid) - before[name] for name, pid in pids.items()} | {"load generator": answers.cpu_s}
        runs = len(mesh.runs(state="completed"))
        if runs != 200:  # a full page
            raise SystemExit("the runs are not in the index: the figure would be worth nothing")
    found = {
        "mesh: webhooks a second, until all is stored and audited": options.invocations / seconds,
        "mesh: webhooks a second, accepted": answers.per_second,
        "mesh: CPU s per 1,000, all": sum(cpu.values()) / options.invocations * 1_000,
    }
    return found | {f"mesh: CPU s per 1,000, {name}": s / options.invocations * 1_000 for name, s in cpu.items()}


def _await(mesh: Mesh, webhooks: int) -> None:
    """Until every record that comes of them is worked on and committed."""
    deadline = time.monotonic() + PATIENCE_S
    for service, each in RECORDS.items():
        while (status := status_of(mesh, service))["finished"] < each * webhooks or status["uncommitted_bytes"]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{service} did not get to the end: {status}")
            time.sleep(0.1)


# --- start -----------------------------------------------------------------------------------------------------------------


def start(_options: argparse.Namespace) -> Figures:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data, ExitStack() as exits:
        servers = Stack(Path(data) / "servers")
        exits.callback(servers.stop)
        found: Figures = {}
        for again in ("empty", "used"):
            with _timed(found, f"start of the servers alone, {again} data: s"):
                servers.start()
            servers.stop()
        port, mesh = str(free_port()), str(Path(data) / "mesh")
        exits.callback(_cli, "down", "--data", mesh, check=False)  # there is none any more, unless something failed
        for again in ("empty", "used"):
            with _timed(found, f"start of the mesh, {again} data: s"):
                _cli("up", "--detach", "--data", mesh, "--port", port)
            _cli("down", "--data", mesh)
    return found


def _cli(*argv: str, check: bool = True) -> None:
    subprocess.run([sys.executable, "-m", "headrace", *argv], cwd=ROOT, check=check, stdout=subprocess.DEVNULL)


@contextmanager
def _timed(found: Figures, name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    found[name] = time.perf_counter() - began


# --- all of it ---------------------------------------------------------------------------------------------------------------


def measures(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Endpoints, dict[str, int]], Figures]]]:
    yield "gateway", lambda stack, _: gateway(stack, options)
    yield "ingest", lambda stack, _: ingest(stack, options)
    yield "persistence", lambda stack, _: persistence(stack, options)
    yield "audit", lambda stack, _: audit(stack, options)
    yield "mesh", lambda stack, servers: whole_mesh(stack, options, servers)


def medians(rounds: Sequence[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def show(figures: Figures) -> None:
    for name, value in figures.items():
        print(f"  {name:<62} {value:10,.2f}" if value < 100 else f"  {name:<62} {value:10,.0f}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", help="comma-separated: gateway, ingest, persistence, audit, mesh, start")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--webhooks", type=int, default=20_000, help="of the gateway's closed loop")
    arguments.add_argument("--connections", type=int, default=128)
    arguments.add_argument("--gateway-target", type=float, default=2_500, help="webhooks a second; half of it is paced")
    arguments.add_argument("--paced-seconds", type=float, default=30.0)
    arguments.add_argument("--records", type=int, default=150_000, help="of each backlog")
    arguments.add_argument("--invocations", type=int, default=8_000, help="webhooks of the whole mesh")
    arguments.add_argument("--json", type=Path, help="write the figures of every round there")
    options = arguments.parse_args()
    wanted = set(options.only.split(",")) if options.only else None
    found: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data, ExitStack() as exits:
        chosen = [(name, measure) for name, measure in measures(options) if wanted is None or name in wanted]
        if chosen:
            stack = Stack(Path(data))
            exits.callback(stack.stop)
            endpoints = stack.start()
            servers = {part.name: part.pid for part in stack.status() if part.pid}
            for number in count(1):
                for name, measure in chosen:
                    found.setdefault(name, []).append(measure(endpoints, servers))
                if number == options.rounds:
                    break
            stack.stop()
    if wanted is None or "start" in wanted:
        found["start"] = [start(options) for _ in range(options.rounds)]
    for name, rounds in found.items():
        print(f"{name}, median of {len(rounds)}")
        show(medians(rounds))
    if options.json:
        options.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
