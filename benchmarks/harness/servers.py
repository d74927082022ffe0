"""The servers of a session: headrace's embedded Kafka, registry and Postgres, and those that only a peer needs.

Each is started when the first run asks for it and stopped with the session. A server that can't be had here raises
``Unavailable`` with the reason, which is what the results then say.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.venvs import node_modules

from headrace.local.endpoints import Endpoints
from headrace.local.guard import Guard
from headrace.local.ports import free_port
from headrace.local.stack import Stack

HOST = "127.0.0.1"


class Unavailable(Exception):
    """A peer can't run here, and why."""


@dataclass(frozen=True)
class Server:
    """What runs need to know of one server: its address, and the processes whose CPU is its."""

    address: str
    pids: tuple[int, ...]
    version: str = ""


class Servers:
    """Use as a context manager. ``stack`` runs from the start: the yardstick needs it in any case."""

    def __init__(self, data: Path, cache: Path, guard: Guard) -> None:
        self._data, self._cache, self.guard = data, cache, guard
        self._exits = ExitStack()
        self._running: dict[str, Server] = {}
        self._refused: dict[str, str] = {}
        self.stack = Stack(data / "stack")
        self._starters: Mapping[str, Callable[[], Server]] = {
            "kafka": lambda: self._of_stack("kafka"),
            "registry": lambda: self._of_stack("registry"),
            "postgres": lambda: self._of_stack("postgres"),
            "redis": self._redis,
            "restate": self._restate,
        }

    def __enter__(self) -> Servers:
        self.stack.start()
        self._exits.callback(self.stack.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @property
    def endpoints(self) -> Endpoints:
        return self.stack.endpoints

    def get(self, name: str) -> Server:
        """Raises ``Unavailable``."""
        if name in self._refused:
            raise Unavailable(self._refused[name])
        if name not in self._running:
            try:
                self._running[name] = self._starters[name]()
            except Unavailable as error:
                self._refused[name] = str(error)
                raise
        return self._running[name]

    def _of_stack(self, part: str) -> Server:
        endpoints = self.endpoints
        addresses = {
            "kafka": endpoints.kafka_bootstrap_servers,
            "registry": endpoints.schema_registry_url,
            "postgres": endpoints.database_url,
        }
        pids = [one.pid for one in self.stack.status() if one.name.startswith(part)]
        return Server(addresses[part], tuple(pid for pid in pids if pid))

    def _launch(self, name: str, argv: Sequence[str], ports: Sequence[int], environment: Mapping[str, str]) -> int:
        """Starts a server below the data directory and waits for its ports; it ends with the session."""
        folder = self._data / name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=dict(os.environ) | dict(environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.guard.watch(process.pid, signal.SIGTERM)
        self._exits.callback(self._end, process)
        for port in ports:
            _wait_for(port, process, name)
        return process.pid

    def _redis(self) -> Server:
        binary = shutil.which("redis-server")
        if binary is None:
            raise Unavailable("no redis-server on the PATH (Debian: apt-get install redis-server)")
        port = free_port()
        argv = [binary, "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "yes"]
        argv += ["--appendfsync", "everysec"]
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
        pid = self._launch("redis", argv, [port], {})
        return Server(f"redis://{HOST}:{port}/0", (pid,), version.split("v=")[1].split()[0])

    def _restate(self) -> Server:
        modules = node_modules("restate", self._cache)
        if modules is None:
            raise Unavailable("no npm on the PATH to fetch the server's package with")
        binary = modules / "@restatedev/restate-server-linux-x64/bin/restate-server"
        if not binary.exists():
            raise Unavailable("its npm package has no server for this platform")
        ingress, admin, node = free_port(), free_port(), free_port()
        environment = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"{HOST}:{ingress}",
            "RESTATE_INGRESS__ADVERTISED_INGRESS_ENDPOINT": f"http://{HOST}:{ingress}/",
            "RESTATE_ADMIN__BIND_ADDRESS": f"{HOST}:{admin}",
            "RESTATE_BIND_ADDRESS": f"{HOST}:{node}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "warn",
        }
        base = self._data / "restate" / "data"
        pid = self._launch(
            "restate", [str(binary), "--base-dir", str(base), "--no-logo"], [ingress, admin], environment
        )
        version = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
        return Server(f"http://{HOST}:{ingress} http://{HOST}:{admin}", (pid,), version.split()[1])

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.guard.forget(process.pid)


def _wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((HOST, port), 0.3).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Unavailable(f"{name} did not open its port")
