"""One invocation of the benchmark: its servers, caches and logs, and a worker with its client on them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.harness import kafka
from benchmarks.harness.catalog import Setting, Variant
from benchmarks.harness.processes import ROOT, Child
from benchmarks.harness.servers import Server, Servers
from benchmarks.harness.venvs import python_of
from benchmarks.peerkit.work import Spec
from tests.support.stack import fresh_database

from headrace.local.download import cache_dir
from headrace.local.guard import Guard
from headrace.local.ports import free_port

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
READY_S = 60.0
_WARM_S = 120.0


@dataclass(frozen=True)
class Shape:
    """Where a run differs from its setting: for the growth curves and the kills."""

    count: int | None = None
    warm: int | None = None
    payload_bytes: int | None = None
    partitions: int | None = None
    workers: int = 1
    model_s: float | None = None
    tool_s: float | None = None
    in_flight: int | None = None
    per_second: float | None = None
    patience_s: float | None = None
    linger_s: float = 0.3
    calls: Path | None = None


class MachineLock:
    """The lock of a file that all heavy work on this machine takes. Kept from run to run, up to ``turn_s`` at a time."""

    def __init__(self, path: Path, turn_s: float = 210.0) -> None:
        self._file = path.open("a")
        self._turn_s = turn_s
        self._since: float | None = None

    def acquire(self) -> None:
        if self._since is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = time.monotonic()

    def release_if_long(self) -> None:
        if self._since is not None and time.monotonic() - self._since > self._turn_s:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._since = None
            time.sleep(1)  # so that those who wait come first


@dataclass
class Session:
    """Use ``opened``."""

    servers: Servers
    logs: Path
    lock: MachineLock | None
    cache: Path = field(default_factory=lambda: cache_dir() / "bench")
    id: str = field(default_factory=lambda: secrets.token_hex(4))

    @classmethod
    @contextmanager
    def opened(cls, lock: Path | None = None) -> Iterator[Session]:
        cache = cache_dir() / "bench"
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            logs = Path(folder) / "logs"
            logs.mkdir()
            with closing(Guard()) as guard, Servers(Path(folder), cache, guard) as servers:
                yield cls(servers, logs, MachineLock(lock) if lock else None, cache)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else who honours the lock measures meanwhile."""
        if self.lock is not None:
            self.lock.acquire()
        try:
            yield
        finally:
            if self.lock is not None:
                self.lock.release_if_long()

    @contextmanager
    def bench(self, variant: Variant, setting: Setting, shape: Shape) -> Iterator[Bench]:
        """Everything prepared, nothing running yet. Raises ``Unavailable``; what the run left on its servers is removed."""
        servers = {name: self.servers.get(name) for name in variant.servers}
        run = f"b{secrets.token_hex(4)}"
        with ExitStack() as exits:
            environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
            if variant.client == "mesh":
                environment |= exits.enter_context(self._mesh(run, shape.partitions))
            spec = _spec(run, variant, setting, shape, servers)
            spec = replace(spec, report=str(self.logs / f"{run}.report"), calls=str(shape.calls or ""))
            bench = Bench(self, variant, spec, environment, servers, shape.workers)
            if "kafka" in servers:
                exits.callback(kafka.drop_topics, servers["kafka"].address, run)
            bench.set_up()
            yield bench

    @contextmanager
    def _mesh(self, run: str, partitions: int | None) -> Iterator[dict[str, str]]:
        """A database, topics, schemas and an agent of headrace's own; what its worker needs in its environment."""
        endpoints = self.servers.endpoints
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            url = runner.run(stack.enter_async_context(fresh_database(endpoints.database_url)))
            try:
                given = replace(endpoints, database_url=url).environment()
                given |= {"HEADRACE_TOPIC_PREFIX": f"{run}.", "OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": ""}
                definition = self.logs / f"{run}.yaml"
                definition.write_text(AGENT)
                for command in (["prepare"], ["agents", "publish", str(definition)]):
                    headrace(given, *command)
                if partitions:
                    kafka.remake_topics(endpoints.kafka_bootstrap_servers, run, partitions)
                yield given
            finally:
                runner.run(stack.aclose())


def headrace(environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        env=dict(os.environ) | dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"headrace {' '.join(arguments)}: {done.stdout}{done.stderr}"[-1000:])


def _spec(run: str, variant: Variant, setting: Setting, shape: Shape, servers: Mapping[str, Server]) -> Spec:
    count = shape.count or variant.count(setting.name)
    base = Spec(
        run=run,
        mode=variant.mode,
        count=count,
        warm=min(variant.warm, count) if setting.calls_ms else variant.warm,  # some take their calls one by one
        per_second=setting.per_second,
        model_s=setting.model_s,
        tool_s=setting.tool_s,
        in_flight=setting.in_flight or variant.in_flight,
        linger_s=shape.linger_s,
        servers={name: server.address for name, server in servers.items()},
    )
    names = ("warm", "payload_bytes", "partitions", "model_s", "tool_s", "in_flight", "per_second", "patience_s")
    return replace(base, **{name: value for name in names if (value := getattr(shape, name)) is not None})


class Bench:
    """One run's processes. ``start_worker`` may be called again after a kill."""

    def __init__(
        self,
        session: Session,
        variant: Variant,
        spec: Spec,
        environment: Mapping[str, str],
        servers: Mapping[str, Server],
        workers: int,
    ) -> None:
        self.spec, self.variant, self.workers = spec, variant, workers
        self.server_pids = [pid for server in servers.values() for pid in server.pids]
        self._environment = dict(environment) | spec.environment()
        self._guard = session.servers.guard
        self._log = session.logs / f"{spec.run}.log"
        self._python = str(python_of(variant.folder, session.cache))

    def set_up(self) -> None:
        if self.variant.client == "plain":
            kafka.make_topics(self.spec.servers["kafka"], self.spec.run, self.spec.partitions)
        elif self.variant.client == "own":
            with self._log.open("ab") as log:
                subprocess.run(
                    self._module("setup"),
                    cwd=ROOT,
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    check=True,
                    timeout=120,
                )

    def _module(self, command: str) -> list[str]:
        return [self._python, "-m", f"benchmarks.peers.{self.variant.folder}.run", command]

    @contextmanager
    def worker(self, slot: int = 0) -> Iterator[Child]:
        """A worker that has said READY; it is stopped at the end, unless it was killed."""
        child = self.start_worker(slot)
        try:
            child.wait_for("READY", READY_S)
            yield child
        finally:
            child.stop()

    def start_worker(self, slot: int = 0) -> Child:
        own = {"HEADRACE_INSTANCE": str(slot), "HEADRACE_OPS_PORT": str(free_port())}
        return Child(self._module("worker"), self._environment | own, self._log, self._guard)

    @contextmanager
    def client(self) -> Iterator[Child]:
        """A client whose warm-up is through: ``say`` anything and it begins, REPORT and it has ended."""
        argv = self._module("client")
        if self.variant.client != "own":
            isolation = "read_committed" if self.variant.exactly_once else "read_uncommitted"
            argv = [sys.executable, "-m", "benchmarks.harness.kafka", self.variant.client, isolation]
        child = Child(argv, self._environment, self._log, self._guard)
        try:
            child.wait_for("READY", _WARM_S)
            yield child
        finally:
            child.stop()
