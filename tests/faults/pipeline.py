"""The whole pipeline under faults: events through the gateway, model and tool calls by HTTP, results in Kafka, Postgres and audit.

What a user is promised is checked from outside alone: every acknowledged event has one completed run in the results and in the
index, every record has its entry in the audit log, whose chains are whole, and nothing is dead-lettered; ``orchestrated`` says what
the events that lead to several runs have to come to. Model calls are counted where they arrive: one that is made again is a
repeated effect.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg
import httpx2

from headrace.audit.verify import verify
from headrace.local.server import Server
from headrace.pipeline import STAGES
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.faults import orchestrated
from tests.faults.arena import BROKERS, Ground
from tests.runtime.kafka import read_all
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import fresh_database, unique_namespace

AGENT = """
name: faults
version: 1.0.0
category: test
description: Looks up flights for each event.
system_prompt: You find flights.
model: openai:gpt-4o
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
triggers: [{type: faults.happened}]
"""
_SERVICES = ("gateway", "ingest", "reasoning", "tools", "orchestration", "persistence", "audit")
_FIRST = tuple(name for name in _SERVICES if name != "orchestration")


@dataclass
class Figures:
    sent: int = 0
    acknowledged: int = 0
    results: int = 0
    dead_letters: int = 0
    lost: int = 0
    doubled: int = 0
    model_calls: int = 0
    model_calls_again: int = 0
    audit_entries: int = 0
    catch_up_s: float = 0.0


@dataclass
class Verdict:
    figures: Figures = field(default_factory=Figures)
    violations: list[str] = field(default_factory=list)
    kills: int = 0

    @property
    def holds(self) -> bool:
        return not self.violations

    def broken(self, what: str, found: object) -> None:
        self.violations.append(f"{what}: {found}")


class Sender(threading.Thread):
    """Events at a rate through the gateway. As senders do, it tries again until it has its 2xx; the event's id stays the same."""

    def __init__(self, mesh: Mesh, rate: float, padding: int, rng: random.Random) -> None:
        super().__init__(name="sender", daemon=True)
        self._mesh, self._rate, self._padding, self._rng = mesh, rate, padding, rng
        self.stopping = threading.Event()
        self.sent: list[str] = []
        self.acknowledged: dict[str, str] = {}  # to its kind
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            number = 0
            while not self.stopping.wait(1 / self._rate):
                self._send(number)
                number += 1
        except BaseException as failure:
            self.failure = failure

    def _send(self, number: int) -> None:
        name, kind = f"event-{number}", orchestrated.CYCLE[number % len(orchestrated.CYCLE)]
        envelope = {
            "source": "faults",
            "event_type": f"faults.{kind}",
            "id": name,
            "partition_key": f"key-{self._rng.randrange(30)}",
            "payload": {**orchestrated.payload(name), "padding": "x" * self._padding},
        }
        self.sent.append(name)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                response = self._mesh.gateway.post("/events", json=envelope)
            except httpx2.TransportError:
                time.sleep(0.2)
                continue
            if response.status_code == 202:
                self.acknowledged[name] = kind
                return
            if response.status_code != 503:
                raise AssertionError(f"the gateway answered {response.status_code}: {response.text[:200]}")
            time.sleep(0.3)
        raise AssertionError("the gateway did not take an event for 90 s")


@dataclass
class Scene:
    """What a pipeline cell works with; ``note`` and ``injected`` as in ``arena.Arena``."""

    ground: Ground
    mesh: Mesh
    rng: random.Random
    postgres: Server | None
    registry: Server | None
    blobs: Path | None
    injected: list[str] = field(default_factory=list)
    kills: int = 0
    began: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        self.injected.append(f"{time.monotonic() - self.began:.1f} s {text}")

    def pause(self, least_s: float, most_s: float | None = None) -> None:
        time.sleep(self.rng.uniform(least_s, most_s or least_s))


@dataclass(frozen=True)
class PipelineCell:
    """``environment`` is added to the mesh's; ``padding``: bytes of each event; ``full``: blobs on a disk of that many bytes."""

    name: str
    what: str
    harm: Callable[[Scene, float], None]
    rate: float = 8.0
    padding: int = 200
    full: int | None = None
    short_s: float = 8.0
    long_s: float = 75.0


def _services_die(scene: Scene, seconds: float) -> None:
    """Each before any is killed again."""
    end, left = time.monotonic() + seconds, list[str]()
    while time.monotonic() < end:
        scene.pause(0.3, 2.0)
        left = left or scene.rng.sample(_SERVICES, len(_SERVICES))
        name = left.pop()
        scene.note(f"kill -9 {name}")
        scene.mesh.kill(name)
        scene.kills += 1
        scene.mesh.start(name, wait=False)


def _postgres_dies(scene: Scene, seconds: float) -> None:
    assert scene.postgres is not None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scene.pause(1.0, 3.0)
        scene.note("kill -9 PostgreSQL")
        scene.postgres.kill()
        scene.pause(1.0, 6.0)
        scene.postgres.start()
        scene.note("PostgreSQL is back")


def _registry_goes(scene: Scene, seconds: float) -> None:
    """Away while services run, and while one starts."""
    assert scene.registry is not None
    scene.note("kill -9 the schema registry")
    scene.registry.kill()
    scene.pause(seconds / 3)
    scene.note("kill -9 reasoning, which has to start without a registry")
    scene.mesh.kill("reasoning")
    scene.mesh.start("reasoning", wait=False)
    scene.pause(seconds / 3)
    scene.registry.start()
    scene.note("the registry is back")
    scene.pause(seconds / 3)


def _disk_fills(scene: Scene, seconds: float) -> None:
    """Blobs can't be written; then there is room again."""
    assert scene.blobs is not None
    filler = scene.blobs / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 2**16)
                file.flush()
        except OSError as error:
            scene.note(f"the blobs' disk is full ({error.strerror})")
    scene.pause(seconds)
    filler.unlink()
    scene.note("there is room again")
    scene.pause(1.0)


def _brokers_and_services_die(scene: Scene, seconds: float) -> None:
    end, node = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        node = node % BROKERS + 1
        scene.note(f"kill -9 broker {node}")
        scene.ground.cluster.kill(node)
        _services_die(scene, 1.0)
        scene.ground.cluster.start(node)
        scene.note(f"broker {node} is back")
        scene.pause(1.0, 2.0)


CELLS = (
    PipelineCell("pipeline", "kill -9 of services of the whole pipeline", _services_die, long_s=150.0),
    PipelineCell("pipeline-brokers", "kill -9 of brokers and services", _brokers_and_services_die),
    PipelineCell("postgres", "kill -9 of PostgreSQL, back after seconds", _postgres_dies),
    PipelineCell("registry", "the schema registry is away", _registry_goes, long_s=30.0),
    PipelineCell(
        "full-disk", "the disk of a blob directory is full", _disk_fills, padding=40_000, full=64 * 2**20, long_s=20.0
    ),
)


@contextmanager
def flights(rows: int = 4) -> Iterator[str]:
    """A real server that the agent's tool calls; its address."""
    body = json.dumps([{"airline": f"A{n}", "price": 100 + n} for n in range(rows)]).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _script(address: str) -> Script:
    call = {
        "name": "execute_pipeline",
        "arguments": {
            "session_id": "faults",
            "pipeline": [
                {"step": "http_request", "url": f"http://{address}/flights"},
                {"step": "top_k", "k": 2},
            ],
        },
    }
    rules = [
        *orchestrated.rules(),
        {"match": {"turn": 0}, "reply": {"tool_calls": [call]}},
        {"match": {"turn": 1}, "reply": {"text": "the first two"}},
    ]
    return Script.model_validate({"latency_ms": 30, "rules": rules})


@contextmanager
def _small_disk(size: int | None) -> Iterator[Path | None]:
    """A file system of ``size`` bytes. Raises ``PermissionError`` where none can be mounted."""
    if size is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="headrace-disk-") as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False)
        if mounted.returncode:
            raise PermissionError("no small file system can be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def run(
    cell: PipelineCell,
    ground: Ground,
    seed: int,
    seconds: float,
    *,
    protocol: str,
    postgres: Server | None = None,
    registry: Server | None = None,
) -> tuple[Verdict, list[str]]:
    """The verdict, and what was injected and when."""
    with ExitStack() as exits:
        runner = exits.enter_context(asyncio.Runner())
        database = fresh_database(ground.endpoints.database_url)
        url = runner.run(database.__aenter__())
        exits.callback(lambda: runner.run(database.__aexit__(None, None, None)))
        blobs = exits.enter_context(_small_disk(cell.full))
        address = exits.enter_context(flights())
        simulator = exits.enter_context(Simulator(_script(address), keep=100_000))
        environment = {
            "OPENAI_API_KEY": "sk-planted-key-000",
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "HEADRACE_EGRESS_ALLOW_PRIVATE": address,
            "HEADRACE_GROUP_PROTOCOL": protocol,
            "HEADRACE_DRAIN_SECONDS": "10",
            "HEADRACE_ORCHESTRATION_SWEEP_SECONDS": "0.2",
            **({"HEADRACE_BLOB_STORE": "directory", "HEADRACE_BLOB_DIR": str(blobs)} if blobs else {}),
        }
        mesh = exits.enter_context(
            running_mesh(ground.endpoints, unique_namespace(), url, services=_FIRST, environment=environment)
        )
        _publish(mesh)
        scene = Scene(ground, mesh, random.Random(seed), postgres, registry, blobs)
        verdict = _driven(cell, scene, simulator, seconds, runner)
        return verdict, scene.injected


def _publish(mesh: Mesh) -> None:
    paths = []
    for name, text in {"faults": AGENT, **orchestrated.definitions("openai:gpt-4o")}.items():
        paths.append(mesh.logs / f"{name}.yaml")
        paths[-1].write_text(text)
    mesh.cli("agents", "publish", *map(str, paths))
    orchestrated.store_workflow(mesh)
    mesh.start(
        *set(_SERVICES) - set(_FIRST), wait=False
    )  # it listens for the workflow's events from its first moment on
    time.sleep(1.0)  # the definitions reach ingest and reasoning


def _driven(cell: PipelineCell, scene: Scene, simulator: Simulator, seconds: float, runner: asyncio.Runner) -> Verdict:
    verdict = Verdict()
    sender = Sender(scene.mesh, cell.rate, cell.padding, random.Random(scene.rng.random()))
    sender.start()
    try:
        until(lambda: len(sender.acknowledged) > 8 or sender.failure, 60, "the first events are taken")
        cell.harm(scene, seconds)
        scene.ground.restore()
    finally:
        sender.stopping.set()
        sender.join(120)
    if sender.failure:
        raise sender.failure
    verdict.kills = scene.kills
    _judge(verdict, scene.mesh, sender, simulator)
    _index(verdict, scene.mesh, runner)
    standing = runner.run(orchestrated.stands(scene.mesh.environment["DATABASE_URL"]))
    for what, found in orchestrated.broken(scene.mesh, standing, Counter(sender.acknowledged.values())):
        verdict.broken(what, found)
    _audit(verdict, scene.mesh, runner)
    return verdict


def _judge(verdict: Verdict, mesh: Mesh, sender: Sender, simulator: Simulator) -> None:
    figures, healed = verdict.figures, time.monotonic()
    figures.sent, figures.acknowledged = len(sender.sent), len(sender.acknowledged)
    expected = sum(orchestrated.RESULTS[kind] for kind in sender.acknowledged.values())
    deadline = healed + 120
    while time.monotonic() < deadline:
        results = _results(mesh)
        if len(results) >= expected:
            break
        time.sleep(0.5)
    figures.catch_up_s = round(time.monotonic() - healed, 1)
    time.sleep(2.0)  # whatever is doubled would come after
    results = _results(mesh)
    figures.results = results.total()
    figures.lost = expected - len(results)
    figures.doubled = sum(count - 1 for count in results.values())
    if figures.lost:
        verdict.broken("invariant 1: runs of acknowledged events without a result", figures.lost)
    if figures.doubled:
        verdict.broken("invariant 2: results doubled", figures.doubled)
    for stage in STAGES.values():
        if stage.consumes and (letters := read_all(mesh.settings, stage.dead_letters)):
            figures.dead_letters += len(letters)
            verdict.broken(f"invariant 1: dead letters of {stage.service}", letters[0].headers.get("dlq_cause"))
    asked = Counter((one.conversation, one.turn) for one in simulator.requests if one.rule != orchestrated.ALIKE)
    figures.model_calls = len(simulator.requests)
    figures.model_calls_again = asked.total() - len(asked)


def _results(mesh: Mesh) -> Counter[str]:
    """Results by run."""
    return Counter(record.key for record in read_all(mesh.settings, "agent.results"))


def _index(verdict: Verdict, mesh: Mesh, runner: asyncio.Runner) -> None:
    """The index of runs comes after the results; it must come to the same."""
    deadline, found = time.monotonic() + 60, 0
    while time.monotonic() < deadline:
        found = runner.run(_completed(mesh.environment["DATABASE_URL"]))
        if found >= verdict.figures.results:
            break
        time.sleep(0.5)
    if found != verdict.figures.results:
        verdict.broken("invariant 1: completed runs in the index", f"{found} of {verdict.figures.results}")


async def _completed(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM runs WHERE state = 'completed'"))
    finally:
        await connection.close()


def _audit(verdict: Verdict, mesh: Mesh, runner: asyncio.Runner) -> None:
    """Every record of every topic has its entry, and every chain is whole."""
    deadline = time.monotonic() + 90
    while True:
        report = runner.run(verify(mesh.settings, deep=True))
        broken = [f"{chain.name}: {chain.broken}" for chain in report.chains if chain.broken]
        if not broken and report.records == report.entries:
            break
        if time.monotonic() > deadline:
            verdict.broken("audit", broken or f"{report.entries} entries of {report.records} records")
            break
        time.sleep(1.0)
    verdict.figures.audit_entries = report.entries
