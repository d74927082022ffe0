"""A load of signed webhooks, in a process of its own: ``python -m benchmarks.edges_load --help``.

As lean as Python allows, since it takes from the cores that it measures: requests are built and signed beforehand, a connection is
one protocol object on uvloop, and of an answer only the status and the length are read.

Each delivery is distinct: an opened GitHub pull request, 2 KB, with an id of its own. *Closed*: every connection sends its next
request when it has the answer to the last. *Paced*: requests are due at a fixed rate, whoever is free sends the oldest one, and
its latency counts from when it was due, so that a stall is seen by all whom it would have hit. What of that is this process's own
(it came late to a request that was due although a connection was free) is counted apart: where it is not small, the latency says
more of the machine than of the gateway.

It prints ``ready``, begins at a line on stdin, and prints its findings as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import hmac
import json
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvloop

ROOT = Path(__file__).parents[1]
BODY_BYTES = 2_048
_TICK_S = 0.001


@dataclass(frozen=True)
class Answers:
    """What came back. Latencies in milliseconds; ``cpu_s`` is this generator's own, ``late_p99_ms`` its lateness in sending."""

    per_second: float
    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    statuses: dict[str, int]
    seconds: float
    cpu_s: float


def body_of(number: int, repositories: int) -> bytes:
    """A pull request that nobody else opens, filled up to 2 KB."""
    name = f"acme/shop-{number % repositories}"
    address = f"https://github.com/{name}"
    user = {"login": "octocat", "id": 583_231, "type": "User", "html_url": "https://github.com/octocat"}
    pull_request = {
        "id": 1_000_000 + number,
        "number": number,
        "state": "open",
        "title": f"Retry payments, part {number}",
        "html_url": f"{address}/pull/{number}",
        "user": user,
        "draft": False,
        "created_at": "2026-09-21T13:33:20Z",
        "updated_at": "2026-09-21T13:33:20Z",
        "additions": 120,
        "deletions": 8,
        "changed_files": 5,
        "labels": [{"name": "payments", "color": "d73a4a"}, {"name": "backend", "color": "0e8a16"}],
        "head": {"ref": f"retry-{number}", "sha": hashlib.sha1(str(number).encode()).hexdigest()},
        "base": {"ref": "main", "sha": "5c1e4f0a7b6d3c2e1f0a9b8c7d6e5f4a3b2c1d0e"},
        "body": "",
    }
    repository = {"id": 42, "full_name": name, "html_url": address, "private": True, "default_branch": "main"}
    payload = {
        "action": "opened",
        "number": number,
        "pull_request": pull_request,
        "repository": repository,
        "sender": user,
    }
    pull_request["body"] = "x" * (BODY_BYTES - len(orjson.dumps(payload)))
    return orjson.dumps(payload)


def delivery_id(first: int, number: int) -> str:
    return f"bench-{first}-{number:08}"


def requests_of(first: int, count: int, secret: bytes, repositories: int) -> Iterator[bytes]:
    for number in range(first, first + count):
        body = body_of(number, repositories)
        lines = (
            "POST /webhooks/github HTTP/1.1",
            "Host: 127.0.0.1",
            "User-Agent: GitHub-Hookshot/044aadd",
            "Accept: */*",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "X-GitHub-Event: pull_request",
            f"X-GitHub-Delivery: {delivery_id(first, number)}",
            "X-GitHub-Hook-ID: 412345678",
            "X-GitHub-Hook-Installation-Target-ID: 42",
            "X-GitHub-Hook-Installation-Target-Type: repository",
            f"X-Hub-Signature: sha1={hmac.new(secret, body, 'sha1').hexdigest()}",
            f"X-Hub-Signature-256: sha256={hmac.new(secret, body, 'sha256').hexdigest()}",
        )
        yield "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """One request at a time. ``send`` needs ``idle``."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._since = 0.0
        self.idle = True
        self.idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._load.free(self)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.idle:
            self._load.answered("lost", self._since)
        self.idle = False

    def send(self, request: bytes, since: float) -> None:
        self.idle = False
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end and len(rest) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self._received = b""
            self.idle = True
            self.idle_since = time.perf_counter()
            self._load.answered(head[9:12].decode(), self._since)
            self._load.free(self)


class Load:
    """Gives the requests to the connections, at ``per_second`` or, without one, as fast as they are answered."""

    def __init__(self, requests: Sequence[bytes], per_second: float | None) -> None:
        self._requests = requests
        self._per_second = per_second
        self._next = 0
        self._began = 0.0
        self._idle: deque[Connection] = deque()
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._over = asyncio.Event()

    async def run(self) -> None:
        self._began = time.perf_counter()
        self._send()
        while not self._over.is_set():
            if self._per_second is None:
                await self._over.wait()
            else:
                await asyncio.sleep(_TICK_S)
                self._send()

    def free(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._began:
            self._send()

    def answered(self, status: str, since: float) -> None:
        self._latencies.append(time.perf_counter() - since)
        self._statuses[status] += 1
        if len(self._latencies) == len(self._requests):
            self._over.set()

    def findings(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self._began
        quantiles = statistics.quantiles(self._latencies, n=100)
        return {
            "per_second": len(self._latencies) / seconds,
            "p50_ms": quantiles[49] * 1_000,
            "p99_ms": quantiles[98] * 1_000,
            "late_p99_ms": statistics.quantiles(self._late, n=100)[98] * 1_000,
            "statuses": dict(self._statuses),
            "seconds": seconds,
        }

    def _send(self) -> None:
        while self._idle and self._next < len(self._requests):
            now = since = time.perf_counter()
            if self._per_second is not None:
                since = self._began + self._next / self._per_second
                if since > now:
                    return
            request = self._requests[self._next]
            self._next += 1
            connection = self._idle.popleft()
            self._late.append(now - max(since, connection.idle_since))
            connection.send(request, since)


async def generate(options: argparse.Namespace) -> dict[str, Any]:
    secret = options.secret.encode()
    load = Load(list(requests_of(options.first, options.count, secret, options.repositories)), options.per_second)
    loop = asyncio.get_running_loop()
    for _ in range(options.connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", options.port)
    gc.freeze()  # a collection would be a pause that the gateway is blamed for
    gc.disable()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cpu = time.process_time()
    await load.run()
    return load.findings() | {"cpu_s": time.process_time() - cpu}


class Generator:
    """The process, seen by who started it: built when ``__init__`` returns, under way during ``run``."""

    def __init__(
        self,
        port: int,
        secret: str,
        count: int,
        *,
        connections: int,
        first: int,
        per_second: float | None = None,
    ) -> None:
        argv = [
            *(sys.executable, "-m", "benchmarks.edges_load", "--port", str(port), "--secret", secret),
            *("--count", str(count), "--connections", str(connections), "--first", str(first)),
            *(["--per-second", str(per_second)] if per_second else []),
        ]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready\n":
            raise SystemExit("the load generator did not start")

    def run(self) -> Answers:
        """Returns when every request is answered. Exits unless all of them were accepted."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answers = Answers(**json.loads(self._line()))
        self._process.wait()
        if set(answers.statuses) != {"202"}:
            raise SystemExit(f"not all were accepted, so the figure would be worth nothing: {answers.statuses}")
        return answers

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, required=True, help="of the gateway, on 127.0.0.1")
    arguments.add_argument("--secret", required=True, help="the webhook secret that deliveries are signed with")
    arguments.add_argument("--count", type=int, default=10_000, help="deliveries")
    arguments.add_argument("--connections", type=int, default=128)
    arguments.add_argument("--per-second", type=float, help="pace; without it as fast as answers come")
    arguments.add_argument("--first", type=int, default=0, help="number of the first delivery: ids follow from it")
    arguments.add_argument("--repositories", type=int, default=1_000, help="partition keys of the events")
    print(json.dumps(uvloop.run(generate(arguments.parse_args()))))


if __name__ == "__main__":
    main()
