"""The gateway under faults: whatever it answered 2xx to is in ``ingest.raw``, once, whatever was killed meanwhile.

Two gateways side by side, signed webhooks over kept-alive connections; gateways and brokers are killed at random. A delivery is
sent once: one whose answer never came, or was no 2xx, may be there or not, but never twice.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

from headrace.cli.sending import github_signature
from tests.faults.arena import BROKERS, Ground
from tests.runtime.kafka import read_all
from tests.support.mesh import GITHUB_SECRET, Mesh, running_mesh
from tests.support.stack import own_database, unique_namespace

CONNECTIONS = 24
_BODY = b'{"action":"opened","repository":{"full_name":"acme/site"},"padding":"%s","number":%d}'
_ANSWER_S = 20.0


@dataclass
class Figures:
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    lost: int = 0
    doubled: int = 0
    refused_but_there: int = 0
    unanswered_but_there: int = 0
    gateway_kills: int = 0
    broker_kills: int = 0
    longest_wait_s: float = 0.0


@dataclass
class Verdict:
    figures: Figures = field(default_factory=Figures)
    violations: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.violations

    @property
    def kills(self) -> int:
        return self.figures.gateway_kills


class Senders:
    """``answers`` by delivery id: an HTTP status, or 0 where no answer came."""

    def __init__(self, ports: list[int], total: int) -> None:
        self._ports, self._total = ports, total
        self._number = 0
        self.answers: dict[str, int] = {}
        self.longest_s = 0.0

    async def run(self) -> None:
        await asyncio.gather(*(self._connection(self._ports[n % len(self._ports)]) for n in range(CONNECTIONS)))

    async def _connection(self, port: int) -> None:
        reader = writer = None
        while (number := self._number) < self._total:
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.1)  # the gateway is down; nothing was sent
                    continue
                if (number := self._number) >= self._total:
                    break
            self._number += 1
            name, began = f"delivery-{number}", time.monotonic()
            self.answers[name] = 0
            try:
                writer.write(_request(name, number))
                assert reader is not None
                self.answers[name] = await asyncio.wait_for(_answer(reader), _ANSWER_S)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                writer.close()
                writer = None
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            if self.answers[name] == 503:
                await asyncio.sleep(0.05)
        if writer is not None:
            writer.close()


def _request(name: str, number: int) -> bytes:
    body = _BODY % (b"x" * 400, number)
    lines = (
        "POST /webhooks/github HTTP/1.1",
        "host: gateway",
        "content-type: application/json",
        "x-github-event: pull_request",
        f"x-github-delivery: {name}",
        f"x-hub-signature-256: {github_signature(GITHUB_SECRET, body)}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    await reader.readexactly(length)
    return int(lines[0].split(" ")[1])


class Harm(threading.Thread):
    """Kills gateways and brokers in turn until it is stopped, and puts everything back."""

    def __init__(self, ground: Ground, meshes: list[Mesh], rng: random.Random, figures: Figures) -> None:
        super().__init__(name="harm", daemon=True)
        self._ground, self._meshes, self._rng, self._figures = ground, meshes, rng, figures
        self.stopping = threading.Event()
        self.injected: list[str] = []
        self.began = time.monotonic()
        self.failure: BaseException | None = None

    def _note(self, text: str) -> None:
        self.injected.append(f"{time.monotonic() - self.began:.1f} s {text}")

    def run(self) -> None:
        try:
            node = 0
            while not self.stopping.wait(self._rng.uniform(2.0, 6.0)):
                if self._rng.random() < 0.5:
                    node = node % BROKERS + 1
                    self._broker(node)
                else:
                    self._gateway(self._rng.randrange(len(self._meshes)))
        except BaseException as failure:
            self.failure = failure

    def _broker(self, node: int) -> None:
        self._note(f"kill -9 broker {node}")
        self._ground.cluster.kill(node)
        self._figures.broker_kills += 1
        time.sleep(self._rng.uniform(0.3, 1.5))
        self._ground.cluster.start(node)

    def _gateway(self, number: int) -> None:
        self._note(f"kill -9 gateway {number}")
        self._meshes[number].kill("gateway")
        self._figures.gateway_kills += 1
        self._meshes[number].start("gateway", wait=False)


def run(ground: Ground, seed: int, sends: int) -> tuple[Verdict, list[str]]:
    """The verdict on that many sends, and what was injected and when."""
    rng, verdict, namespace = random.Random(seed), Verdict(), unique_namespace()
    with ExitStack() as exits:
        url = exits.enter_context(own_database(ground.endpoints.database_url))
        meshes = [
            exits.enter_context(
                running_mesh(
                    ground.endpoints,
                    namespace,
                    url,
                    services=("gateway",),
                    environment={"HEADRACE_INSTANCE": str(slot), "HEADRACE_LOG_LEVEL": "error"},
                    prepare=slot == 0,
                )
            )
            for slot in range(2)
        ]
        senders = Senders([mesh.gateway_port for mesh in meshes], sends)
        harm = Harm(ground, meshes, rng, verdict.figures)
        harm.start()
        try:
            asyncio.run(senders.run())
        finally:
            harm.stopping.set()
            harm.join(90)
            ground.restore()
        if harm.failure:
            raise harm.failure
        time.sleep(2.0)  # commits that are still under way
        _judge(
            verdict, senders, Counter(r.headers.get("ce_id", "") for r in read_all(meshes[0].settings, "ingest.raw"))
        )
    return verdict, harm.injected


def _judge(verdict: Verdict, senders: Senders, there: Counter[str]) -> None:
    figures, by_status = verdict.figures, Counter(senders.answers.values())
    figures.sent = len(senders.answers)
    figures.acknowledged, figures.unanswered = by_status[202], by_status[0]
    figures.refused = figures.sent - figures.acknowledged - figures.unanswered
    figures.longest_wait_s = round(senders.longest_s, 2)
    found = {name.rpartition(":")[2]: count for name, count in there.items()}
    lost = [name for name, status in senders.answers.items() if status == 202 and name not in found]
    doubled = [name for name, count in found.items() if count > 1]
    figures.lost, figures.doubled = len(lost), len(doubled)
    figures.unanswered_but_there = sum(name in found for name, status in senders.answers.items() if status == 0)
    figures.refused_but_there = sum(name in found for name, status in senders.answers.items() if status not in (0, 202))
    if lost:
        verdict.violations.append(f"invariant 1: {len(lost)} deliveries answered 2xx are missing: {lost[:3]}")
    if doubled:
        verdict.violations.append(f"invariant 2: {len(doubled)} deliveries are there twice: {doubled[:3]}")
    if unknown := set(found) - set(senders.answers):
        verdict.violations.append(f"deliveries that nobody sent: {sorted(unknown)[:3]}")
    odd = set(by_status) - {0, 202, 503}
    if odd:
        verdict.violations.append(f"answers that nobody expects: {sorted(odd)}")
