"""Everything that a cell of the matrix needs: a cluster behind proxies, its own topics, load, workers, an observer, a verdict."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition

from headrace.local.endpoints import Endpoints
from headrace.local.kafka import KafkaCluster
from headrace.runtime import config
from headrace.runtime.engine import Bounds
from headrace.runtime.offsets import store_offsets, stored_offsets
from headrace.settings import MeshSettings
from tests.faults import worker
from tests.faults.checker import Evidence, Verdict, check
from tests.faults.journal import Note
from tests.faults.journal import read as read_notes
from tests.faults.load import Load, Prompt
from tests.faults.observer import OUTPUTS, Observer, Read, read_to_end
from tests.faults.proxy import Proxies
from tests.runtime.kafka import make_topics
from tests.runtime.relay import STAGE, TOPICS, settings_for
from tests.support.children import PRELOAD
from tests.support.stack import kafka_cluster, unique_namespace

BROKERS = 3
PARTITIONS = 6
_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload([PRELOAD])  # imports are done once, so that a start takes milliseconds


@dataclass(frozen=True)
class Ground:
    """The cluster that cells share, and the proxies before it."""

    cluster: KafkaCluster
    proxies: Proxies
    endpoints: Endpoints
    replicas: int = BROKERS

    def slow_commits(self, seconds: float) -> None:
        """Answers to EndTxn take this long, until ``restore``: transactions are fewer and larger."""
        for proxy in self.proxies.by_node.values():
            proxy.end_txn_delay_s = seconds

    def restore(self) -> None:
        """Whatever a cell did to it is undone."""
        self.proxies.heal()
        for broker in self.cluster.brokers:
            if broker.process.running:
                self.cluster.resume(broker.node)
            else:
                self.cluster.start(broker.node)


@dataclass(frozen=True)
class Shared:
    """A broker that is not to be harmed, for cells that harm nobody but their own workers."""

    endpoints: Endpoints
    replicas: int = 1

    def restore(self) -> None:
        """Nothing was done to it."""


@contextmanager
def ground(registry_url: str, database_url: str) -> Iterator[Ground]:
    proxies = Proxies(BROKERS)
    try:
        with kafka_cluster(brokers=BROKERS, advertise=proxies.start()) as cluster:
            for broker in cluster.brokers:
                proxies.by_node[broker.node].target = broker.port
            yield Ground(cluster, proxies, Endpoints(cluster.bootstrap_servers, registry_url, database_url))
    finally:
        proxies.close()


@dataclass(frozen=True)
class Setup:
    """What a cell starts with.

    ``limit_s``: how soon after the faults everything must be done. ``others_wait_s``: how long jobs that nothing is wrong with may
    take. ``drain_s``: how long a worker that is told to go waits for what it has begun.
    """

    rate: float = 150
    keys: int = 60
    workers: int = 3
    prompt: Prompt = lambda _number: "x"
    delay_s: float = 0.02
    bounds: Bounds = field(default_factory=lambda: Bounds(max_in_flight=200))
    limit_s: float = 45.0
    others_wait_s: float | None = None
    drain_s: float = 10.0
    bug: str | None = None


@dataclass
class Arena:
    """A cell's own topics and processes. ``injected`` tells what was done to them and when (seconds from its start)."""

    ground: Ground | Shared
    settings: MeshSettings
    folder: Path
    rng: random.Random
    setup: Setup
    injected: list[str] = field(default_factory=list)
    processes: dict[int, ForkServerProcess] = field(default_factory=dict)
    kills: int = 0
    found: list[str] = field(default_factory=list)  # violations that a cell saw by itself
    by_hand: bool = False  # the cell moved committed offsets, as an operator
    saved: list[Read] = field(default_factory=list)  # inputs as they were, where a cell has some deleted
    refusals: list[str] = field(default_factory=list)  # errors with which workers had to stop
    kept: bool = False
    began: float = field(default_factory=time.monotonic)
    healed_at: float = 0.0

    def __post_init__(self) -> None:
        setup = self.setup
        self.load = Load(
            self.settings, self.folder, rate=setup.rate, keys=setup.keys, prompt=setup.prompt, rng=self.rng
        )
        self.observer = Observer(self.settings, PARTITIONS)

    # --- what a cell does ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Workers, load and observer, until the first results are there."""
        make_topics(self.settings, TOPICS, partitions=PARTITIONS, replicas=self.ground.replicas)
        self.observer.start()
        for slot in range(self.setup.workers):
            self.start(slot)
        self.load.start()
        self.wait(self._all_at_work, 60, "every worker has partitions, and there are results")

    def _all_at_work(self) -> bool:
        for slot, process in self.processes.items():
            assert process.is_alive(), f"worker {slot} ended with {process.exitcode}"
        if len(self.observer.done) <= 20:
            return False
        held: dict[int, set[int]] = {}
        for note in self.notes():
            if note["event"] == "assigned":
                held.setdefault(note["pid"], set()).update(note["partitions"])
            elif note["event"] == "revoked":
                held[note["pid"]] -= set(note["partitions"])
        return all(held.get(process.pid or 0) for process in self.processes.values())

    def note(self, text: str) -> None:
        self.injected.append(f"{time.monotonic() - self.began:.1f} s {text}")

    def start(self, slot: int, *, kill: tuple[str, int] | None = None, **more: object) -> None:
        options = worker.Options(
            self.settings.model_copy(update={"instance": str(slot)}),
            self.folder,
            slot,
            delay_s=self.setup.delay_s,
            bounds=self.setup.bounds,
            bug=self.setup.bug,
            kill=kill,
        )
        process = _FORK.Process(target=worker.main, args=(replace(options, **more),), daemon=True)  # type: ignore[arg-type]
        process.start()
        self.processes[slot] = process

    def kill(self, slot: int) -> None:
        self.note(f"kill -9 worker {slot}")
        self.kills += 1
        process = self.processes.pop(slot)
        process.kill()
        process.join()

    def stop(self, slot: int) -> None:
        self.note(f"SIGTERM worker {slot}")
        process = self.processes.pop(slot)
        process.terminate()
        process.join(40)
        early = -signal.SIGTERM  # before it had come to its handler
        assert process.exitcode in (0, early), f"worker {slot} ended with {process.exitcode} on SIGTERM"

    def signal(self, slot: int, number: signal.Signals) -> None:
        self.note(f"{number.name} worker {slot}")
        os.kill(self.processes[slot].pid or 0, number)

    def any_slot(self) -> int:
        return self.rng.choice(sorted(self.processes))

    def pause(self, least_s: float, most_s: float | None = None) -> None:
        time.sleep(self.rng.uniform(least_s, most_s or least_s))

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.1)

    def revive(self) -> None:
        """Start again every worker that is gone."""
        for slot in range(self.setup.workers):
            process = self.processes.get(slot)
            if process is None or not process.is_alive():
                if process is not None:
                    process.join()
                    self.kills += process.exitcode == -signal.SIGKILL
                self.start(slot)

    def commit(self, commits: dict[int, tuple[int, str]]) -> None:
        """As an operator would, or somebody who should not: offset and metadata by partition, while nobody is in the group."""
        self.by_hand = True
        topic, group = self.settings.physical_topic("agent.jobs"), config.group_id(self.settings, STAGE.group)
        offsets = [TopicPartition(topic, p, o, m) for p, (o, m) in commits.items()]
        deadline = time.monotonic() + 20  # whoever was killed is a member until its session ends
        while True:
            try:
                return store_offsets(self.settings, group, offsets)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def committed(self) -> dict[int, tuple[int, str]]:
        topic, group = self.settings.physical_topic("agent.jobs"), config.group_id(self.settings, STAGE.group)
        asked = [TopicPartition(topic, p) for p in range(PARTITIONS)]
        answers = stored_offsets(self.settings, group, asked, stable=True, timeout_s=20.0)
        return {a.partition: (a.offset, a.metadata or "") for a in answers if a.offset >= 0}

    def must_refuse(self, slot: int, reason: str) -> None:
        """Start a worker that has to stop by itself, for this reason, before it starts anything."""
        known = {note["pid"] for note in self.notes()}
        self.start(slot)
        process = self.processes.pop(slot)
        deadline = time.monotonic() + 15
        while process.is_alive() and time.monotonic() < deadline and not self._works(process):
            process.join(0.1)
        mine = [note for note in self.notes() if note["pid"] not in known]
        errors = [note["error"] for note in mine if note["event"] == "stopped"]
        self.refusals += errors
        self.note(f"worker {slot} stopped: {errors}")
        went_on = process.is_alive()
        if went_on or process.exitcode != 3 or not any(reason in error for error in errors):
            self.found.append(f"invariant 14: worker {slot} did not stop for {reason!r} but went on")
        if any(note["event"] == "start" for note in mine):
            self.found.append(f"invariant 14: worker {slot} worked before it stopped")
        if went_on:
            self.processes[slot] = process
            self._end(slot)

    def _works(self, process: ForkServerProcess) -> bool:
        return any(note["event"] == "start" and note["pid"] == process.pid for note in self.notes())

    # --- the end ---------------------------------------------------------------------------------------------------------

    def finish(self, *, revive: bool = True) -> Verdict:
        """End of the faults: load ends, everything gets done or does not, and is judged."""
        self.load.finish()
        if revive:
            self.revive()
        self.healed_at = time.monotonic()
        (self.folder / worker.HEALED).touch()
        inputs = self.inputs()
        finished_at = self._until_done(inputs)
        time.sleep(1.0)  # whatever is doubled would come after
        for process in self.processes.values():
            process.terminate()
        for slot in list(self.processes):
            self._end(slot)
        outputs = read_to_end(self.settings, OUTPUTS, PARTITIONS)
        self.observer.finish()
        verdict = check(
            Evidence(
                inputs=inputs,
                outputs=outputs,
                seen=self.observer.seen,
                done=self.observer.done,
                commits=self.observer.commits,
                load=[n for n in self.notes() if n["event"] in ("invoke", "ok", "fail", "unknown")],
                notes=[n for n in self.notes() if n["event"] not in ("invoke", "ok", "fail", "unknown")],
                bound=self.setup.bounds.max_in_flight,
                healed_at=self.healed_at,
                finished_at=finished_at,
                limit_s=self.setup.limit_s,
                others_wait_s=self.setup.others_wait_s,
                by_hand=self.by_hand,
                refusals=self.refusals,
            )
        )
        verdict.violations += self.found
        if not verdict.holds:
            self.kept = True
            self.note(f"logs and notes are kept in {self.folder}")
        return verdict

    def inputs(self) -> list[Read]:
        known = {read.where for read in self.saved}
        now = read_to_end(self.settings, ["agent.jobs"], PARTITIONS)
        return [*self.saved, *(read for read in now if read.where not in known)]

    def notes(self) -> list[Note]:
        return list(read_notes(self.folder))

    def _until_done(self, inputs: list[Read]) -> float:
        jobs = {read.job for read in inputs}
        deadline = time.monotonic() + 2 * self.setup.limit_s
        while time.monotonic() < deadline and not jobs <= self.observer.done.keys():
            if self.setup.bug and self.observer.all_committed(inputs):
                break  # what a bug has lost will not come
            time.sleep(0.05)
        if not jobs <= self.observer.done.keys():
            for slot in self.processes:
                self.signal(slot, signal.SIGUSR1)  # to its log
            time.sleep(1.0)
        done = [self.observer.done[job] for job in jobs if job in self.observer.done]
        return max(done, default=time.monotonic()) if len(done) == len(jobs) else time.monotonic()

    def _end(self, slot: int) -> None:
        process = self.processes.pop(slot)
        process.terminate()
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()

    def close(self) -> None:
        self.load.abandon()
        for process in self.processes.values():
            process.kill()
            process.join()
        self.processes.clear()
        self.observer.abandon()


@contextmanager
def arena(ground: Ground | Shared, setup: Setup, seed: int, *, protocol: str) -> Iterator[Arena]:
    folder = Path(tempfile.mkdtemp(prefix="headrace-faults-"))
    settings = settings_for(ground.endpoints, unique_namespace(), group_protocol=protocol, drain_seconds=setup.drain_s)
    made = Arena(ground, settings, folder, random.Random(seed), setup)
    try:
        yield made
    except Exception as error:
        made.kept = True
        error.add_note(f"logs and notes are kept in {folder}")
        raise
    finally:
        made.close()
        if not made.kept:
            shutil.rmtree(folder, ignore_errors=True)
