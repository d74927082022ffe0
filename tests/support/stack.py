"""The stack that all test processes of one run share, and the small things that keep their tests apart.

pytest-xdist runs several worker processes. The first that needs the stack starts a *host* process (`stack_host.py`), which
owns it; every worker holds a connection to the host as its lease. When the last lease ends, in order or by the worker's
death, the host stops the stack, removes its data and exits. So nothing is left over, whatever happens to a worker, and a
run that needs no stack starts none.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from headrace.local.aot import ensure_trained
from headrace.local.download import cache_dir, ensure_software
from headrace.local.endpoints import Endpoints, check_reachable, external
from headrace.local.guard import Guard
from headrace.local.kafka import KafkaCluster
from headrace.local.ports import PortBook
from headrace.local.progress import silent
from headrace.local.server import Site

_START_SECONDS = 600  # the first start of all downloads ~200 MB
_STOP_SECONDS = 60
_ROOT = Path(__file__).parents[2]


@contextmanager
def shared_stack() -> Iterator[Endpoints]:
    """The addresses of the run's stack, which is there for as long as this is open.

    Where the environment names all three servers, those; where it names some, the host embeds the others.
    """
    outside = external()
    if len(outside) == 3:
        for part, address in outside.items():
            check_reachable(part, address)
        yield Endpoints(outside["kafka"], outside["registry"], outside["postgres"])
        return
    base = Path(tempfile.gettempdir()) / f"headrace-tests-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    run = hashlib.sha256(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode()).hexdigest()[:12]
    with _lease(base, run) as lease:
        yield _read_endpoints(lease)


@contextmanager
def _lease(base: Path, run: str) -> Iterator[socket.socket]:
    host: subprocess.Popen[bytes] | None = None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        with (base / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                connection.connect(str(base / f"{run}.sock"))
            except OSError:
                host = _start_host(base, run)
                connection.connect(str(base / f"{run}.sock"))
        try:
            yield connection
        finally:
            connection.settimeout(_STOP_SECONDS)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # end-of-file: the lease is given back, or, if it was the last, the stack is down
    if host is not None:
        _leave(host)


def _start_host(base: Path, run: str) -> subprocess.Popen[bytes]:
    """Starts a host and waits until its socket is there. The caller holds the start lock."""
    path, log_path = base / f"{run}.sock", base / f"{run}.log"
    path.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "tests.support.stack_host", str(base), run]
    with log_path.open("ab") as log:
        host = subprocess.Popen(
            argv, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    while not path.exists():
        if host.poll() is not None:
            raise RuntimeError(f"the host of the test stack ended: {log_path.read_text()[-3000:]}")
        time.sleep(0.02)
    return host


def _leave(host: subprocess.Popen[bytes]) -> None:
    """Reaps the host if it has ended; where other workers still use it, it stays."""
    try:
        host.wait(1)
    except subprocess.TimeoutExpired:
        host.returncode = 0  # not ours to wait for: silences the warning about a running child


def _read_endpoints(lease: socket.socket) -> Endpoints:
    lease.settimeout(_START_SECONDS)
    with lease.makefile("r") as lines:
        answer = json.loads(lines.readline() or '{"error": "the host of the test stack ended"}')
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return Endpoints(**answer)


def unique_namespace() -> str:
    """A short prefix for one test's topics, groups and transactional ids, such as "t3f9a1c."."""
    return f"t{secrets.token_hex(3)}."


@asynccontextmanager
async def fresh_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a new, empty database on that server; dropped at the end, open connections or not."""
    name = f"t_{secrets.token_hex(6)}"
    await _execute(server_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    """`fresh_database` for those who are in no event loop."""
    with asyncio.Runner() as runner:
        database = fresh_database(server_url)
        url = runner.run(database.__aenter__())
        try:
            yield url
        finally:
            runner.run(database.__aexit__(None, None, None))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def data_folder() -> Iterator[Path]:
    """An empty folder with a short path, which PostgreSQL's account can be let into (pytest's `tmp_path` is private)."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def kafka_cluster(
    *, brokers: int = 3, advertise: Mapping[int, str] | None = None, users: Mapping[str, str] | None = None
) -> Iterator[KafkaCluster]:
    """A running cluster of its own, with fast time-outs, for tests that harm brokers.

    `advertise` (node -> "host:port") puts a proxy before brokers; with `users` (name -> password) clients have to log in.
    """
    software = ensure_software(registry=False)
    trained = ensure_trained(software, cache_dir(), silent).kafka  # brokers are started again and again
    guard = Guard()
    try:
        with data_folder() as folder:
            site = Site(folder, PortBook(folder / "ports.json"), guard)
            cluster = KafkaCluster(
                site,
                software.kafka_classpath,
                brokers=brokers,
                fast=True,
                advertise=dict(advertise or {}),
                users=dict(users or {}),
                aot=trained,
            )
            cluster.start_all()
            try:
                yield cluster
            finally:
                for broker in cluster.brokers:
                    broker.kill()  # its data goes anyway, and the last of three waits in vain for a quorum to leave
    finally:
        guard.close()
