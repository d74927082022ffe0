"""The software cache, against a Maven repository on loopback that can misbehave."""

import io
import os
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace.local.download import Software, ensure_software, unpack
from headrace.local.errors import DownloadFailed
from headrace.local.lock import Artifact, Lock, read_lock
from headrace.local.progress import Step


def archive(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


FILES = {
    "one-1.jar": b"one" * 5_000,
    "two-1.jar": b"two" * 5_000,
    "app-1-all.tar.gz": archive(("quarkus-run.jar", b"run"), ("lib/a.jar", b"a")),
}


def pin(name: str, classifier: str, packaging: str, content: bytes) -> Artifact:
    return Artifact("org.example", name, "1", classifier, packaging, sha256(content).hexdigest(), len(content))


LOCK = Lock(
    kafka=(pin("one", "", "jar", FILES["one-1.jar"]), pin("two", "", "jar", FILES["two-1.jar"])),
    registry=pin("app", "all", "tar.gz", FILES["app-1-all.tar.gz"]),
)


class Repository:
    """A Maven repository: what it served, how often, and what it serves instead."""

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.instead: dict[str, bytes] = {}
        self.cut: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                content = outer.instead.get(name, FILES.get(name))
                if content is None:
                    self.send_error(404)
                    return
                outer.served[name] += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if name in outer.cut else content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/maven2"


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    made = Repository()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HEADRACE_MAVEN_URL", made.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def contents(found: Software) -> list[bytes]:
    home = found.registry_home
    return [*(jar.read_bytes() for jar in found.kafka_classpath), (home / "quarkus-run.jar").read_bytes()]


WHOLE = [FILES["one-1.jar"], FILES["two-1.jar"], b"run"]


def test_the_second_time_needs_no_network(repository: Repository, tmp_path: Path) -> None:
    steps: list[Step] = []
    first = ensure_software(cache=tmp_path, lock=LOCK, progress=steps.append)
    assert contents(first) == WHOLE
    assert repository.served == dict.fromkeys(FILES, 1)
    assert {(step.part, step.total) for step in steps if step.done == step.total and step.total} == {
        ("Kafka", 30_000),
        ("schema registry", len(FILES["app-1-all.tar.gz"])),
    }

    assert ensure_software(cache=tmp_path, lock=LOCK) == first
    assert repository.served.total() == 3


@pytest.mark.parametrize("damage", ["truncated", "same size", "missing"])
def test_a_damaged_jar_is_fetched_again_alone(repository: Repository, tmp_path: Path, damage: str) -> None:
    jar = ensure_software(cache=tmp_path, lock=LOCK).kafka_classpath[1]
    if damage == "missing":
        jar.unlink()
    else:
        jar.write_bytes(jar.read_bytes()[:100] if damage == "truncated" else b"x" * jar.stat().st_size)

    assert contents(ensure_software(cache=tmp_path, lock=LOCK)) == WHOLE
    assert repository.served == {"one-1.jar": 1, "two-1.jar": 2, "app-1-all.tar.gz": 1}


@pytest.mark.parametrize("damage", ["truncated", "missing", "no seals"])
def test_a_damaged_registry_is_fetched_again_alone(repository: Repository, tmp_path: Path, damage: str) -> None:
    home = ensure_software(cache=tmp_path, lock=LOCK).registry_home
    if damage == "truncated":
        (home / "quarkus-run.jar").write_bytes(b"r")
    else:
        (home / ("seals.json" if damage == "no seals" else "lib/a.jar")).unlink()

    assert contents(ensure_software(cache=tmp_path, lock=LOCK)) == WHOLE
    assert repository.served == {"one-1.jar": 1, "two-1.jar": 1, "app-1-all.tar.gz": 2}


@pytest.mark.parametrize("name", ["two-1.jar", "app-1-all.tar.gz"])
def test_a_transfer_that_breaks_off_leaves_no_half_file(repository: Repository, tmp_path: Path, name: str) -> None:
    repository.cut.add(name)
    with pytest.raises(DownloadFailed, match=f"cannot fetch {name}"):
        ensure_software(cache=tmp_path, lock=LOCK)
    assert not list(tmp_path.glob(".staging-*"))
    assert not list(tmp_path.glob("apicurio-*"))
    assert not (tmp_path / "jars" / "two-1.jar").exists() or name != "two-1.jar"

    repository.cut.clear()
    assert contents(ensure_software(cache=tmp_path, lock=LOCK)) == WHOLE


def test_what_a_killed_process_left_is_swept(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / ".staging-old" / "maven").mkdir(parents=True)
    (tmp_path / ".staging-old" / "maven" / "two-1.jar").write_bytes(b"tw")

    ensure_software(cache=tmp_path, lock=LOCK)

    assert not list(tmp_path.glob(".staging-*"))


def test_a_file_with_another_hash_is_refused(repository: Repository, tmp_path: Path) -> None:
    repository.instead["one-1.jar"] = b"evil" * 3_750

    with pytest.raises(DownloadFailed, match=r"one-1\.jar is not the pinned file"):
        ensure_software(cache=tmp_path, lock=LOCK)

    assert not (tmp_path / "jars" / "one-1.jar").exists()


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "evil.tar.gz").write_bytes(archive(("../outside", b"x")))

    with pytest.raises(DownloadFailed, match=r"cannot unpack evil\.tar\.gz"):
        unpack(tmp_path / "evil.tar.gz", tmp_path / "inside")

    assert not (tmp_path / "outside").exists()


def test_two_processes_fetch_everything_once(repository: Repository, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from headrace.local.download import ensure_software;"
        "from tests.stack.test_download import LOCK; ensure_software(cache=Path(__import__('sys').argv[1]), lock=LOCK)"
    )
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(argv, cwd=root, env=dict(os.environ)) for _ in range(2)]

    assert [process.wait(60) for process in both] == [0, 0]
    assert repository.served == dict.fromkeys(FILES, 1)


def test_the_lock_file_pins_the_documented_versions() -> None:
    lock = read_lock()

    assert ("org.apache.kafka", "kafka_2.13", "4.3.1") in {(one.group, one.name, one.version) for one in lock.kafka}
    assert (lock.registry.name, lock.registry.version) == ("apicurio-registry-app", "3.3.3")
    assert all(len(one.sha256) == 64 and one.size > 0 for one in (*lock.kafka, lock.registry))
    assert len({one.file_name for one in lock.kafka}) == len(lock.kafka)
