"""A whole mesh for flow tests: real services as processes of their own, on the run's stack, under the test's own prefix.

with running_mesh(stack, namespace, database_url) as mesh:
    mesh.gateway.post("/events", json=...)
    mesh.kill("reasoning"); mesh.start("reasoning")
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from headrace.cli.prepare import prepare_mesh
from headrace.local.endpoints import Endpoints
from headrace.pipeline import STAGES
from headrace.registry.load import load_file
from headrace.registry.publish import publish
from headrace.settings import MeshSettings
from tests.support.children import Child, run_command, start_services
from tests.support.ports import free_port

T = TypeVar("T")
GITHUB_SECRET = "a-test-secret-of-the-flow"  # planted: it must not show up anywhere
_READY_SECONDS = 60


class Mesh:
    """Services by name; each process has a log file and an ops port."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.environment = dict(os.environ) | dict(environment)
        self.logs = logs
        self.gateway_port = free_port()
        self.environment["HEADRACE_GATEWAY_PORT"] = str(self.gateway_port)
        self.environment.setdefault("HEADRACE_AUTH", "off")  # on loopback
        self.ops = {name: free_port() for name in STAGES}
        self.processes: dict[str, Child] = {}
        self._log_of: dict[str, str] = {}
        self.gateway = httpx2.Client(base_url=f"http://127.0.0.1:{self.gateway_port}", trust_env=False, timeout=30)

    @property
    def settings(self) -> MeshSettings:
        return MeshSettings(
            kafka_bootstrap_servers=self.environment["KAFKA_BOOTSTRAP_SERVERS"],
            schema_registry_url=self.environment["SCHEMA_REGISTRY_URL"],
            database_url=self.environment["DATABASE_URL"],  # type: ignore[arg-type]
            topic_prefix=self.environment["HEADRACE_TOPIC_PREFIX"],
        )

    def cli(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the `headrace` command against this mesh."""
        done = run_command(*arguments, environment=self.environment)
        if expect is not None:
            assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def prepare(self) -> None:
        """As `headrace prepare` does, without a process that imports everything once more."""
        done = _run(prepare_mesh(self.settings))
        assert not [change for change in done.topics if change.refused]

    def publish(self, *files: Path, live: bool = True) -> None:
        """As `headrace agents publish` does. Definitions with tools of MCP servers need the command, which knows the pins."""
        _run(publish(self.settings, [load_file(file) for file in files], who="test", live=live))

    def await_agents(self, *names: str) -> None:
        """Wait until the gateway knows them: services hear of what is published a moment later."""
        for name in names:
            until(lambda path=f"/v1/agents/{name}": self.gateway.get(path).status_code == 200, 60, f"{name} is known")

    def start(self, *names: str, wait: bool = True, together: Collection[str] = ()) -> None:
        """Each in a process of its own, but those of ``together`` in one: a process takes seconds to start."""
        shared = tuple(name for name in names if name in together)
        for group in ([shared] if shared else []) + [(name,) for name in names if name not in shared]:
            self._start(group)
        for name in names if wait else ():
            self.wait_ready(name)

    def _start(self, group: tuple[str, ...]) -> None:
        port = self.ops[group[0]]
        environment = self.environment | {"HEADRACE_OPS_PORT": str(port)}
        process = start_services(*group, environment=environment, log=self.logs / f"{group[0]}.log")
        for name in group:
            self.processes[name], self.ops[name], self._log_of[name] = process, port, group[0]

    def wait_ready(self, name: str) -> None:
        def ready() -> bool:
            assert self.processes[name].poll() is None, f"{name} ended:\n{self.log(name)[-3000:]}"
            try:
                return httpx2.get(f"http://127.0.0.1:{self.ops[name]}/readyz", trust_env=False).status_code == 200
            except httpx2.TransportError:
                return False

        until(ready, _READY_SECONDS, f"{name} is ready")

    def kill(self, name: str) -> None:
        """kill -9, also of what shares its process."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> None:
        """SIGTERM, and the drain."""
        for name in names:
            self.processes[name].send_signal(signal.SIGTERM)
        for name in names:
            assert self.processes.pop(name).wait(45) == 0, self.log(name)[-3000:]

    def log(self, name: str) -> str:
        return (self.logs / f"{self._log_of.get(name, name)}.log").read_text(errors="replace")

    def close(self) -> None:
        self.gateway.close()
        for name in list(self.processes):
            self.kill(name)

    # --- what tests ask ------------------------------------------------------------------------------------------------

    def runs(self, **params: Any) -> list[dict[str, Any]]:
        response = self.gateway.get("/v1/runs", params={"limit": 200, **params})
        assert response.status_code == 200, response.text
        runs: list[dict[str, Any]] = response.json()["runs"]
        return runs

    def finished(self, count: int, seconds: float = 60) -> list[dict[str, Any]]:
        """Wait until ``count`` runs are finished; all runs that there are then."""

        def enough() -> list[dict[str, Any]] | None:
            runs = self.runs()
            return runs if sum(run["state"] in ("completed", "failed") for run in runs) >= count else None

        return until(enough, seconds, f"{count} runs are finished")

    def run(self, run_id: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until that run is finished."""

        def finished() -> dict[str, Any] | None:
            run: dict[str, Any] = self.gateway.get(f"/v1/runs/{run_id}").json()
            return run if run.get("state") in ("completed", "failed") else None

        return until(finished, seconds, f"run {run_id} is finished")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """On a thread of its own, since a loop may run in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(120)


def until(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """Poll until ``condition`` gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


@contextmanager
def running_mesh(
    stack: Endpoints,
    namespace: str,
    database_url: str,
    *,
    services: Sequence[str] = tuple(STAGES),
    apart: Collection[str] | None = None,
    environment: Mapping[str, str] | None = None,
    prepare: bool = True,
) -> Iterator[Mesh]:
    """A mesh with ``services`` running and ready; gone afterwards. It is prepared here, unless somebody has done that.

    Each service is a process; with ``apart``, only those are, and the others share one.
    """
    given = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
        "DATABASE_URL": database_url,
        "HEADRACE_TOPIC_PREFIX": namespace,
        "HEADRACE_WEBHOOK_SECRET_GITHUB": GITHUB_SECRET,
        "HEADRACE_WEBHOOK_OPEN": "alertmanager",
        "ANTHROPIC_API_KEY": "",
        "OPENAI_API_KEY": "",
    }
    with tempfile.TemporaryDirectory(prefix="headrace-flow-") as logs:
        mesh = Mesh(given | dict(environment or {}), Path(logs))
        try:
            if prepare:
                mesh.prepare()
            mesh.start(*services, together=() if apart is None else set(services) - set(apart))
            yield mesh
        finally:
            mesh.close()
