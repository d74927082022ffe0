"""The cache of server software: Kafka's jars and the registry's distribution, fetched once from Maven Central.

Owns `$HEADRACE_CACHE_DIR` (default `~/.cache/headrace`); `$HEADRACE_MAVEN_URL` names a mirror to fetch from.
Knows nothing of how the software is started.

    <cache>/lock                      held while somebody fetches; a second process waits, then finds everything there
    <cache>/jars/<name>.jar           one file an artifact, as pinned by artifacts.lock.json
    <cache>/jars/seals.json           size and modification time of each jar when its hash was last checked
    <cache>/apicurio-<version>-<hash>/  the unpacked registry; seals.json beside its files
    <cache>/aot/                      what starts the servers sooner (`aot.py`)
    <cache>/.staging-*/               work in progress; swept by the next holder of the lock

Nothing appears under its final name before it is whole and its SHA-256 is right (fetch to staging, check, rename), so
an interrupted download leaves no half cache. A seal spares hashing 200 MB at each start: a file whose size or
modification time differs from its seal is hashed again, and fetched again if the hash is wrong.
"""

import fcntl
import json
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.local.errors import DownloadFailed
from headrace.local.lock import Artifact, Lock, read_lock, sha256
from headrace.local.progress import Progress, Step, silent

if TYPE_CHECKING:
    from jgo.maven import MavenContext

_PARALLEL_DOWNLOADS = 6
_SEALS = "seals.json"

Seals = dict[str, list[int]]
"""File name -> [size in bytes, modification time in ns]."""


@dataclass(frozen=True, slots=True)
class Software:
    """Where the software is. `kafka_classpath` is in a fixed order; `registry_home` holds `quarkus-run.jar`."""

    kafka_classpath: tuple[Path, ...]
    registry_home: Path


def cache_dir() -> Path:
    """The cache's directory: `$HEADRACE_CACHE_DIR`, else `~/.cache/headrace`."""
    return Path(os.environ.get("HEADRACE_CACHE_DIR") or Path.home() / ".cache" / "headrace")


def ensure_software(
    *,
    kafka: bool = True,
    registry: bool = True,
    cache: Path | None = None,
    lock: Lock | None = None,
    progress: Progress = silent,
) -> Software:
    """Makes sure that the wanted software is cached and whole, fetching what is missing.

    Uses no network when everything is there. `lock` says what is pinned (default: this version's lock file). Raises
    `DownloadFailed`.
    """
    root = cache or cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        _sweep_staging(root)
        pinned = lock or read_lock()
        jars = _ensure_jars(root, pinned.kafka, progress) if kafka else ()
        home = _ensure_registry(root, pinned.registry, progress) if registry else root
    return Software(jars, home)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Inside, nobody else changes the cache."""
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep_staging(root: Path) -> None:
    for leftover in root.glob(".staging-*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A folder of the cache for work in progress, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ensure_jars(root: Path, artifacts: tuple[Artifact, ...], progress: Progress) -> tuple[Path, ...]:
    folder = root / "jars"
    folder.mkdir(exist_ok=True)
    seals = _read_seals(folder)
    missing = [one for one in artifacts if not _is_whole(folder / one.file_name, one, seals)]
    if missing:
        with staging(root) as work, _Download("Kafka", missing, progress) as download:
            for artifact, path in download.into(work):
                path.replace(folder / artifact.file_name)
    fresh = {one.file_name: _seal(folder / one.file_name) for one in artifacts}
    if fresh != seals:
        _write_seals(folder, fresh)
    return tuple(folder / one.file_name for one in artifacts)


def _is_whole(path: Path, artifact: Artifact, seals: Seals) -> bool:
    if not path.is_file() or path.stat().st_size != artifact.size:
        return False
    return seals.get(path.name) == _seal(path) or sha256(path) == artifact.sha256


def _ensure_registry(root: Path, artifact: Artifact, progress: Progress) -> Path:
    home = root / f"apicurio-{artifact.version}-{artifact.sha256[:12]}"
    seals = _read_seals(home)
    if seals and seals == _seal_tree(home, seals):
        return home
    with staging(root) as work, _Download("schema registry", [artifact], progress) as download:
        (_, archive), *_ = download.into(work)
        unpacked = work / "unpacked"
        progress(Step("schema registry", "unpacking"))
        unpack(archive, unpacked)
        _write_seals(unpacked, _seal_tree(unpacked))
        shutil.rmtree(home, ignore_errors=True)
        unpacked.rename(home)
    return home


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a tar archive; refuses members outside of `target`, links out of it and special files."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DownloadFailed(f"cannot unpack {archive.name}: {error}") from error


def _seal(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _seal_tree(home: Path, expected: Seals | None = None) -> Seals | None:
    """The seals of the `expected` files (default: of all), or None where one of them is missing."""
    names = expected or {str(path.relative_to(home)): [] for path in home.rglob("*") if path.is_file()}
    try:
        return {name: _seal(home / name) for name in names}
    except FileNotFoundError:
        return None


def _read_seals(folder: Path) -> Seals:
    try:
        seals: Seals = json.loads((folder / _SEALS).read_text())
    except (OSError, ValueError):
        return {}
    return seals


def _write_seals(folder: Path, seals: Seals | None) -> None:
    partial = folder / f"{_SEALS}.partial"
    partial.write_text(json.dumps(seals))
    partial.replace(folder / _SEALS)


class _Download:
    """Fetches artifacts side by side and reports their bytes as one total."""

    def __init__(self, label: str, artifacts: list[Artifact], progress: Progress) -> None:
        self._label = label
        self._artifacts = artifacts
        self._progress = progress
        self._total = sum(one.size for one in artifacts)
        self._done = 0
        self._given_up = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_PARALLEL_DOWNLOADS)

    def __enter__(self) -> "_Download":
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up = True
        self._pool.shutdown(cancel_futures=True)

    def into(self, folder: Path) -> Iterator[tuple[Artifact, Path]]:
        """Yields each artifact with its checked file in `folder`."""
        from jgo.maven import MavenContext, PythonResolver  # takes half a second to import: only when needed

        mirror = os.environ.get("HEADRACE_MAVEN_URL")
        maven = MavenContext(
            resolver=PythonResolver(progress_callback=self._track),
            repo_cache=folder / "maven",
            remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        )
        return zip(self._artifacts, self._pool.map(lambda one: self._fetch(maven, one), self._artifacts), strict=True)

    @contextmanager
    def _track(self, _file_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield self._advance

    def _advance(self, count: int) -> None:
        if self._given_up:
            raise DownloadFailed("given up")  # ends the transfers still under way when one fails or the user interrupts
        with self._lock:
            self._done += count
            self._progress(Step(self._label, "download", min(self._done, self._total), self._total))

    def _fetch(self, maven: "MavenContext", artifact: Artifact) -> Path:
        component = maven.project(artifact.group, artifact.name).at_version(artifact.version)
        try:
            path = Path(component.artifact(artifact.classifier, artifact.packaging).resolve())
        except Exception as error:  # the Maven client raises requests' errors, RuntimeError and OSError
            raise DownloadFailed(f"cannot fetch {artifact.file_name}: {error}") from error
        if sha256(path) != artifact.sha256:
            raise DownloadFailed(f"{artifact.file_name} is not the pinned file: its SHA-256 differs")
        return path
