"""The pinned helm: where it is, and how it is built: ``python deploy/helm.py``.

It comes as a Go module and is built once, in about two minutes, into ``$HEADRACE_CACHE_DIR/bin`` (default
``~/.cache/headrace/bin``). ``$HEADRACE_HELM`` names another; a helm on ``PATH`` is taken if it is of the same major version.
Nothing here runs by itself: tests that need helm skip, and say so, where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

VERSION: Final = "v3.22.0"
MODULE: Final = "helm.sh/helm/v3/cmd/helm"
BUILD_TIMEOUT_S: Final = 1_500


class NoHelm(Exception):
    """There is none, or it can't be built; says what to do."""


def cached() -> Path:
    """Where the built one is kept."""
    base = os.environ.get("HEADRACE_CACHE_DIR") or Path.home() / ".cache" / "headrace"
    return Path(base) / "bin" / f"helm-{VERSION}"


class Refused(Exception):
    """helm ended with an error; its words."""


@cache
def find() -> Path:
    """A helm that runs. Raises ``NoHelm``."""
    if named := os.environ.get("HEADRACE_HELM"):
        return Path(named)
    if cached().is_file():
        return cached()
    on_path = shutil.which("helm")
    if on_path and run(Path(on_path), "version", "--short").startswith(VERSION.split(".")[0] + "."):
        return Path(on_path)
    raise NoHelm(f"no helm {VERSION.split('.')[0]}: `make helm` builds it (needs Go), or set HEADRACE_HELM")


def run(helm: Path, *arguments: str) -> str:
    """Its standard output. Raises ``Refused``."""
    done = subprocess.run([helm, *arguments], capture_output=True, text=True, timeout=120)  # noqa: S603
    if done.returncode:
        raise Refused(f"{done.stdout}{done.stderr}".strip())
    return done.stdout


def build() -> Path:
    """Build it, unless it is there. Raises ``NoHelm``."""
    target = cached()
    if target.is_file():
        return target
    go = shutil.which("go")
    if go is None:
        raise NoHelm("no Go on PATH to build helm with")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        environment = os.environ | {"GOBIN": folder, "CGO_ENABLED": "0"}
        command = [go, "install", "-ldflags", "-s -w", f"{MODULE}@{VERSION}"]
        try:
            subprocess.run(command, env=environment, check=True, timeout=BUILD_TIMEOUT_S)  # noqa: S603
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NoHelm(f"helm could not be built: {error}") from error
        (Path(folder) / "helm").rename(target)
    return target


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{build()}\n")
    except NoHelm as reason:
        sys.exit(f"deploy/helm.py: {reason}")
