"""The pinned artifacts of the embedded stack: which files from Maven Central, each with its SHA-256.

`artifacts.lock.json` lists every file, so that a start resolves no dependency graph (46 files straight away instead of
a hundred POMs first) and runs nothing that was not reviewed: the Maven client only *warns* on a wrong checksum, we refuse.

Renew it after changing a coordinate below: `python -m headrace.local.lock`.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36"
"""Kafka's own set has no SLF4J backend; the simple one writes to standard error, which is our log file."""
REGISTRY = ("io.apicurio", "apicurio-registry-app", "3.3.3", "all", "tar.gz")
LOCK_FILE = Path(__file__).with_name("artifacts.lock.json")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a Maven repository. `size` in bytes."""

    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """The name under which the file is cached."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"


@dataclass(frozen=True, slots=True)
class Lock:
    """All artifacts of the stack."""

    kafka: tuple[Artifact, ...]
    registry: Artifact


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@cache
def read_lock() -> Lock:
    """The pinned artifacts of this version of headrace."""
    raw = json.loads(LOCK_FILE.read_text())
    return Lock(kafka=tuple(Artifact(**entry) for entry in raw["kafka"]), registry=Artifact(**raw["registry"]))


def _renew() -> None:
    import jgo
    from jgo.maven import Artifact as MavenArtifact
    from jgo.maven import MavenContext

    def pin(artifact: MavenArtifact) -> Artifact:
        path = Path(artifact.resolve())
        return Artifact(
            artifact.groupId,
            artifact.artifactId,
            artifact.version,
            artifact.classifier,
            artifact.packaging,
            sha256(path),
            path.stat().st_size,
        )

    with TemporaryDirectory() as folder:
        maven = MavenContext(repo_cache=Path(folder))
        group, name, version, classifier, packaging = REGISTRY
        registry = pin(maven.project(group, name).at_version(version).artifact(classifier, packaging))
        resolved = sorted(jgo.resolve(KAFKA), key=lambda one: (one.groupId, one.artifactId))
        kafka = [
            pin(maven.project(one.groupId, one.artifactId).at_version(one.version).artifact(one.classifier))
            for one in resolved
        ]
    pins = {"kafka": [asdict(one) for one in kafka], "registry": asdict(registry)}
    LOCK_FILE.write_text(json.dumps(pins, indent=1) + "\n")


if __name__ == "__main__":
    _renew()
