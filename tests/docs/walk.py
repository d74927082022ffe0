"""The guides, followed: their shell blocks run by bash as they stand, with the real programs, on a mesh that is running.

Replaced in a block are only the places that are the reader's own: addresses, ports, ids. What goes on until it is stopped
(`headrace run`, a tail without an end) is stopped as soon as it has shown that it works. `make` is not run from within itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headrace.local.download import cache_dir, ensure_software
from headrace.local.java import java
from headrace.local.lock import Artifact, Lock, read_lock
from tests.docs.pages import ROOT, Block

BLOCK_SECONDS: Final = 150
OTHER_PROGRAMS: Final = ("curl", "jq", "kcat", "openssl")
KAFKA_TOOLS: Final = Artifact(
    group="org.apache.kafka",
    name="kafka-tools",
    version="4.3.1",
    classifier="",
    packaging="jar",
    sha256="62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c",
    size=698668,
)
_PREAMBLE: Final = r"""
set -euo pipefail
make() { :; }
headrace() {
  case "$*" in
    "run "*) "$PYTHON" -m tests.docs.stopped ready "$@" ;;
    "results tail"*" -n "*) command headrace "$@" ;;
    "results tail"*) "$PYTHON" -m tests.docs.stopped line "$@" ;;
    *) command headrace "$@" ;;
  esac
}
"""


def missing_programs() -> list[str]:
    """Those of the programs that the guides call which this machine lacks."""
    return [name for name in OTHER_PROGRAMS if shutil.which(name) is None]


@dataclass
class Walk:
    """A reader: a directory like a checkout's root, an environment, and the places that are the reader's own."""

    folder: Path
    environment: Mapping[str, str]
    places: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "kafka-consumer-groups.sh").write_text(_consumer_groups())
        (tools / "kafka-consumer-groups.sh").chmod(0o755)
        (self.folder / "docs").symlink_to(ROOT / "docs")
        (self.folder / ".venv").symlink_to(sys.prefix)

    def run(self, block: Block) -> str:
        """What the block printed. Fails where any of its commands does."""
        text = block.text
        for theirs, mine in self.places.items():
            text = text.replace(theirs, mine)
        path = os.pathsep.join([str(self.folder / "tools"), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "--norc", "-c", _PREAMBLE + text],
            cwd=self.folder,
            env={**self.environment, "PATH": path, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        assert done.returncode == 0, f"{block}: exit {done.returncode}\n{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def _consumer_groups() -> str:
    """Kafka's own tool, from its jar."""
    software = ensure_software(registry=False)
    tools = Lock(kafka=(KAFKA_TOOLS,), registry=read_lock().registry)
    (jar,) = ensure_software(registry=False, cache=cache_dir() / "tools", lock=tools).kafka_classpath
    classpath = ":".join(map(str, [jar, *software.kafka_classpath]))
    return f'#!/bin/sh\nexec "{java()}" -cp "{classpath}" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "$@"\n'
