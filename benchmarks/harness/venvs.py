"""An environment of its own for each peer, made when it is first needed, below ``~/.cache/headrace/bench/``.

``<name>-<hash of its lock>/`` holds it, so a changed lock makes a new one and an unchanged one costs nothing. Python packages come
by ``uv`` with their hashes, npm's by ``npm ci`` with their integrity; no install scripts run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parents[1] / "peers"


def python_of(peer: str, cache: Path) -> Path:
    """The interpreter of the peer's environment; ours if the peer has no lock of its own."""
    lock = PEERS / peer / "requirements.lock"
    if not lock.exists():
        return Path(sys.executable)
    home = cache / f"{peer}-{_digest(lock)}"
    if not home.exists():
        _say(f"environment of {peer}")
        partial = _partial(home)
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(partial)], check=True)
        target = ["--python", str(partial / "bin" / "python")]
        subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", *target, str(lock)], check=True)
        partial.rename(home)
    return home / "bin" / "python"


def node_modules(peer: str, cache: Path) -> Path | None:
    """The peer's ``node_modules``, or None without npm."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    home = cache / f"{peer}-npm-{_digest(PEERS / peer / 'package-lock.json')}"
    if not home.exists():
        _say(f"npm packages of {peer}")
        partial = _partial(home)
        partial.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / peer / name, partial)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([npm, "ci", *quiet], cwd=partial, check=True)
        partial.rename(home)
    return home / "node_modules"


def version_of(peer: str, package: str) -> str:
    """The pinned version of a package in the peer's lock."""
    for line in (PEERS / peer / "requirements.lock").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split()[0]
    raise LookupError(f"{package} is not in the lock of {peer}")


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]


def _partial(home: Path) -> Path:
    """Where it is made; it gets its name when it is whole."""
    partial = home.with_name(f".{home.name}.{os.getpid()}")
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def _say(text: str) -> None:
    print(f"bench: making the {text}", flush=True)
