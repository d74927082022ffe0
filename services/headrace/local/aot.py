"""Ahead-of-time caches of the Java servers (JEP 483, 514): what a JVM finds out while a server starts, it finds out once.

The bundled Java comes without any class archive: half of a server's start went into loading, checking and linking the same classes.
A training run of each server, in a folder of its own, is made when the software is new; its cache lies beside the software:

    <cache>/aot/<server>-<key>.aot      the key names the Java runtime, its flags, and each jar by size and time

A JVM that cannot use a cache says so in its log and starts without it. So does a server whose training failed.
"""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headrace.local import java
from headrace.local.download import Software, locked, staging
from headrace.local.errors import StackError
from headrace.local.guard import Guard
from headrace.local.java import Aot
from headrace.local.kafka import KafkaCluster
from headrace.local.ports import PortBook
from headrace.local.progress import Progress, Step
from headrace.local.registry import SchemaRegistry
from headrace.local.server import Server, Site

_ASSEMBLY_SECONDS = 180.0
"""At the end of its training run a JVM writes the cache: seconds on an idle machine; this is for one that is busy."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The caches that there are."""

    kafka: Aot | None = None
    registry: Aot | None = None


@dataclass(frozen=True, slots=True)
class _Training:
    name: str
    jars: Iterable[Path]
    make: Callable[[Site, Aot], Server]


def ensure_trained(software: Software, cache: Path, progress: Progress) -> Trained:
    """The caches of `software`, trained now where they are missing: once, some ten seconds."""
    trainings = []
    if software.kafka_classpath:
        trainings.append(_Training("kafka", software.kafka_classpath, lambda site, aot: _broker(site, software, aot)))
    if software.registry_home != cache:
        jars = sorted(software.registry_home.rglob("*.jar"))
        make = lambda site, aot: SchemaRegistry(site, software.registry_home, aot=aot)  # noqa: E731
        trainings.append(_Training("registry", jars, make))
    with locked(cache):
        folder = cache / "aot"
        folder.mkdir(exist_ok=True)
        paths = {training.name: folder / f"{training.name}-{_key(training.jars)}.aot" for training in trainings}
        missing = [training for training in trainings if not paths[training.name].exists()]
        if missing:
            with staging(cache) as work, ThreadPoolExecutor(len(missing)) as pool:
                list(pool.map(lambda training: _train(training, work, paths[training.name], progress), missing))
    return Trained(**{name: Aot(path) for name, path in paths.items() if path.exists()})


def _broker(site: Site, software: Software, aot: Aot) -> Server:
    return KafkaCluster(site, software.kafka_classpath, aot=aot).broker(1)


def _train(training: _Training, work: Path, path: Path, progress: Progress) -> None:
    progress(Step(training.name, "training its first start, once"))
    home, output = work / training.name, work / path.name
    home.mkdir()
    guard = Guard()
    try:
        server = training.make(Site(home, PortBook(home / "ports.json"), guard), Aot(output, training=True))
        server.start()
        server.process.stop(_ASSEMBLY_SECONDS)
    except StackError as error:
        progress(Step(training.name, f"not trained: {error}"))
        return
    finally:
        guard.close()
    if output.exists():
        for older in path.parent.glob(f"{training.name}-*.aot"):
            older.unlink()
        output.replace(path)


def _key(jars: Iterable[Path]) -> str:
    parts = [(java.home() / "release").read_text(), *java.BASE_FLAGS]
    parts += [f"{jar}:{jar.stat().st_size}:{jar.stat().st_mtime_ns}" for jar in jars]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
