"""The embedded stack as a whole: which parts are ours, started side by side, watched, stopped.

Everything of one stack is below one data directory:

    lock, ports.json          one stack a directory; its ports, the same after a restart
    run/<server>.json         pid files          logs/<server>.log    one log a server
    kafka/  registry/  postgres/                 the data, which survives stop and start

A part that an environment variable names (`endpoints.VARIABLES`) is external: it is checked, not started. The stack
decides when a crashed server is started again (`watch_once`); what a server is, the server knows.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from headrace.local.aot import ensure_trained
from headrace.local.download import cache_dir, ensure_software
from headrace.local.endpoints import Endpoints, check_reachable, external
from headrace.local.errors import NotRunning, PartFailed, StackError
from headrace.local.guard import Guard
from headrace.local.instance import InstanceLock
from headrace.local.kafka import KafkaCluster
from headrace.local.ports import PortBook
from headrace.local.postgres import Postgres
from headrace.local.progress import Progress, Step, silent
from headrace.local.registry import SchemaRegistry
from headrace.local.restarts import RestartBudget
from headrace.local.server import Server, Site

ALL_PARTS = frozenset({"kafka", "registry", "postgres"})


class State(StrEnum):
    """What a server or service is doing."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class StackPorts:
    """Ports that the user chose; None: the one of the last start, or a free one. `kafka` is broker 1's."""

    kafka: int | None = None
    registry: int | None = None
    postgres: int | None = None

    def chosen(self, brokers: int) -> dict[str, int]:
        """Port-book name -> port."""
        names = {"kafka" if brokers == 1 else "kafka-1": self.kafka, "registry": self.registry}
        return {name: port for name, port in {**names, "postgres": self.postgres}.items() if port is not None}


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One server. `since` is in seconds since the epoch; `error` is set when it failed."""

    name: str
    state: State
    since: float
    restarts: int
    pid: int | None
    ports: tuple[int, ...]
    log: str
    error: str = ""


class _Watched:
    """A server with its state and restart budget."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.budget = RestartBudget()
        self.restarts = 0
        self.state = State.STOPPED
        self.since = time.time()
        self.error = ""

    def become(self, state: State, error: str = "") -> None:
        self.state, self.since, self.error = state, time.time(), error

    def status(self) -> PartStatus:
        process = self.server.process
        return PartStatus(
            name=self.server.name,
            state=self.state,
            since=self.since,
            restarts=self.restarts,
            pid=process.pid,
            ports=self.server.listens,
            log=str(process.log_path),
            error=self.error,
        )


class Stack:
    """Kafka, the schema registry and PostgreSQL on `data_dir`.

    Synchronous: `start` and `stop` block for seconds, so call them from asyncio by `asyncio.to_thread`. `fast=True` is
    for tests: short Kafka time-outs, no fsync in PostgreSQL. `parts` says which of the three are wanted at all.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        brokers: int = 1,
        fast: bool = False,
        ports: StackPorts | None = None,
        parts: Collection[str] = ALL_PARTS,
        cache: Path | None = None,
    ) -> None:
        if unknown := set(parts) - ALL_PARTS:
            raise ValueError(f"unknown parts: {', '.join(sorted(unknown))}")
        self.data_dir = data_dir.expanduser().absolute()
        self._brokers = brokers
        self._fast = fast
        self._ports = ports or StackPorts()
        self._parts = frozenset(parts)
        self._cache = cache
        self._external: dict[str, str] = {}
        self._lock = InstanceLock(self.data_dir)
        self._guard: Guard | None = None
        self._closing = threading.Event()
        self._interrupted: list[ThreadPoolExecutor] = []
        self._watched: list[_Watched] = []
        self.kafka: KafkaCluster | None = None
        self.registry: SchemaRegistry | None = None
        self.postgres: Postgres | None = None

    def start(self, progress: Progress = silent, guard: Guard | None = None) -> Endpoints:
        """Starts what is ours, checks what is not, and returns the addresses once everything answers.

        Raises a `StackError`; nothing is left running then. A caller that passes a `guard` (to have one for everything
        that it runs) holds the `InstanceLock` as well; otherwise the stack sees to both.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if guard is None:
            self._lock.acquire()
        self._closing.clear()
        try:
            self._external = {part: where for part, where in external().items() if part in self._parts}
            for part, address in self._external.items():
                check_reachable(part, address)
                progress(Step(part, "external, reachable"))
            self._build(progress, guard)
            self._start_servers()
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def stop(self, progress: Progress = silent) -> None:
        """Stops all servers side by side and gives the data directory free. May be called again."""
        self._closing.set()
        for watched in self._watched:
            progress(Step(watched.server.name, "stopping"))
        self._side_by_side([watched.server.stop for watched in self._watched])
        for pool in self._interrupted:
            pool.shutdown()  # nobody works on our data once the lock is given back
        self._interrupted.clear()
        for watched in self._watched:
            watched.become(State.STOPPED)
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._lock.release()

    @property
    def endpoints(self) -> Endpoints:
        """The addresses of the parts. Raises `NotRunning` before the start."""
        own = {
            "kafka": self.kafka and self.kafka.bootstrap_servers,
            "registry": self.registry and self.registry.url,
            "postgres": self.postgres and self.postgres.url,
        }
        where = {**{part: address or "" for part, address in own.items()}, **self._external}
        if any(not where[part] for part in self._parts):
            raise NotRunning(self.data_dir)
        return Endpoints(where["kafka"], where["registry"], where["postgres"])

    def status(self) -> list[PartStatus]:
        """All servers of ours, and the external parts."""
        outside = [PartStatus(part, State.EXTERNAL, 0.0, 0, None, (), "") for part in sorted(self._external)]
        return [watched.status() for watched in self._watched] + outside

    def watch_once(self, progress: Progress = silent) -> list[PartStatus]:
        """Looks for servers that crashed and starts them again; blocks while it does.

        At most 3 restarts of a server within 60 s: after that its state is `failed`, with the tail of its log as the
        error. Returns the servers whose state has changed.
        """
        changed = [watched for watched in self._watched if watched.state == State.READY and not _is_alive(watched)]
        for watched in changed:
            watched.become(State.RESTARTING)
        self._side_by_side([partial(self._restart, watched, progress) for watched in changed])
        return [watched.status() for watched in changed]

    def watch(self, stopped: threading.Event, changed: Callable[[PartStatus], None], period: float = 0.25) -> None:
        """Calls `watch_once` each `period` seconds until `stopped` is set, and `changed` for each change."""
        while not stopped.wait(period):
            for status in self.watch_once():
                changed(status)

    def _restart(self, watched: _Watched, progress: Progress) -> None:
        server, process = watched.server, watched.server.process
        progress(Step(server.name, f"crashed (exit code {process.exit_code()})"))
        error: StackError | None = None
        while watched.budget.crashed(time.monotonic()) is not None:
            watched.restarts += 1
            try:
                process.kill()
                server.await_ports()
                server.start()
            except StackError as failure:
                error = failure
                continue
            watched.become(State.READY)
            return
        budget = watched.budget
        error = error or PartFailed(server.label, budget.recent, budget.window, process.log_path, process.log_tail())
        watched.become(State.FAILED, str(error))
        progress(Step(server.name, str(error)))

    def _build(self, progress: Progress, guard: Guard | None) -> None:
        ours = self._parts - self._external.keys()
        if not ours:
            return
        cache = self._cache or cache_dir()
        software = ensure_software(kafka="kafka" in ours, registry="registry" in ours, cache=cache, progress=progress)
        trained = ensure_trained(software, cache, progress)
        if guard is None:
            guard = self._guard = Guard()
        book = PortBook(self.data_dir / "ports.json", self._ports.chosen(self._brokers))
        site = Site(self.data_dir, book, guard, progress, self._closing)
        servers: list[Server] = []
        if "postgres" in ours:
            self.postgres = Postgres(site, fast=self._fast)
            servers.append(self.postgres)
        if "kafka" in ours:
            self.kafka = KafkaCluster(
                site, software.kafka_classpath, brokers=self._brokers, fast=self._fast, aot=trained.kafka
            )
            servers.extend(self.kafka.brokers)
        if "registry" in ours:
            self.registry = SchemaRegistry(site, software.registry_home, aot=trained.registry)
            servers.append(self.registry)
        self._watched = [_Watched(server) for server in servers]

    def _start_servers(self) -> None:
        for watched in self._watched:
            watched.become(State.STARTING)
        self._side_by_side([watched.server.launch for watched in self._watched])
        self._side_by_side([watched.server.wait_ready for watched in self._watched])
        for watched in self._watched:
            watched.become(State.READY)

    def _side_by_side(self, calls: Sequence[Callable[[], object]]) -> None:
        """Runs the calls in threads, waits for all of them, then raises the first error.

        An interrupt ends the waiting at once; the caller then stops the servers, which ends the calls too.
        """
        if not calls:
            return
        pool = ThreadPoolExecutor(len(calls))
        try:
            futures = [pool.submit(call) for call in calls]
            wait(futures)
        except BaseException:
            self._interrupted.append(pool)
            raise
        pool.shutdown()
        for future in futures:
            future.result()


def _is_alive(watched: _Watched) -> bool:
    return watched.server.process.running
