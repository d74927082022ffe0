"""Other projects' own parsers, to hold deploy/ against: the loader of `docker compose`, promtool, Alloy's parser.

Each is a Go module of its own in `oracles/`, pinned and hashed there. It is built once, when a test first needs it (promtool takes
some minutes, the others seconds), and kept beside the other downloads. Where there is no Go, or a module can't be had, these tests
skip and say so; the checks that need no oracle run everywhere.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parent / "oracles"
_PROMTOOL = ("-tags", "remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool")
_BUILD_SECONDS = 900


def compose() -> Path:
    return _oracle("compose")


def alloy() -> Path:
    return _oracle("alloy")


def promtool() -> Path:
    return _oracle("prometheus", *_PROMTOOL)


def run(program: Path, *arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The finished call, whatever its exit code."""
    return subprocess.run([program, *arguments], env=env, capture_output=True, text=True, timeout=60)


@cache
def _oracle(name: str, *what: str) -> Path:
    """The built program; skips the test where it can't be had."""
    sources = _SOURCES / name
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources.iterdir()))).hexdigest()[:12]
    folder = Path(os.environ.get("HEADRACE_CACHE_DIR") or Path.home() / ".cache" / "headrace") / "bin"
    program = folder / f"oracle-{name}-{digest}"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"the oracle `{name}` is not built, and there is no Go to build it")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"oracle-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            partial = program.with_suffix(".partial")
            argv = [go, "build", "-mod=readonly", "-p", "2", "-ldflags", "-s -w", "-o", str(partial), *(what or (".",))]
            env = dict(os.environ) | {"CGO_ENABLED": "0"}
            done = subprocess.run(argv, cwd=sources, env=env, capture_output=True, text=True, timeout=_BUILD_SECONDS)
            if done.returncode:
                pytest.skip(f"the oracle `{name}` can't be built: {done.stderr[-300:]}")
            partial.rename(program)
    return program
