"""Runs a container's command as a pod would have it, as far as that goes without a cluster; ``test_running.py`` starts it.

In network and mount namespaces of its own: loopback alone, the root read-only, an empty ``/tmp``, the working directory ``/``.
Reads ``{command, environment, probes: {name: [port, path]}}`` on stdin; writes ``{answers: {name: status}, wrote, exit,
root_writable}``.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

_SIOCSIFFLAGS, _IFF_UP_LOOPBACK_RUNNING = 0x8914, 0x49
PATIENCE_S = 60


def isolate() -> None:
    with socket.socket() as one:
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP_LOOPBACK_RUNNING, b""))
    subprocess.run(["mount", "-o", "remount,ro,bind", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True)
    os.chdir("/")


def ask(port: int, path: str) -> int:
    """The status; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def root_is_writable() -> bool:
    with suppress(OSError):
        Path("/headrace-was-here").touch()
        return True
    return False


def run(spec: dict[str, Any]) -> dict[str, Any]:
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(spec["command"], env=spec["environment"], stdout=nowhere, stderr=nowhere)
    answers: dict[str, int] = {}
    until = time.monotonic() + PATIENCE_S
    try:
        while len(answers) < len(spec["probes"]) and time.monotonic() < until and process.poll() is None:
            for name, (port, path) in spec["probes"].items():
                if status := ask(port, path):
                    answers[name] = status
            time.sleep(0.1)
    finally:
        process.terminate()
        code = process.wait(PATIENCE_S)
    wrote = sorted(str(path) for path in Path("/tmp").iterdir())
    return {"answers": answers, "wrote": wrote, "exit": code, "root_writable": root_is_writable()}


if __name__ == "__main__":
    isolate()
    json.dump(run(json.load(sys.stdin)), sys.stdout)
