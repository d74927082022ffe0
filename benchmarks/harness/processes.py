"""Processes under measurement: start, wait for their word, what they took, end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from headrace.local.guard import Guard

ROOT = Path(__file__).parents[2]
_STOP_S = 5.0


class NotReady(Exception):
    """A process ended, or said nothing in time."""


class Child:
    """A process in a session of its own that says READY (and more) on its standard output; it does not outlive us."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path, guard: Guard) -> None:
        self._log, self._guard = log, guard
        self._read = b""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self._process.pid
        guard.watch(self.pid, signal.SIGTERM)

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait_for(self, word: str, seconds: float) -> None:
        """Until a line of its output begins with ``word``; the others go to its log. Raises ``NotReady``."""
        assert self._process.stdout is not None
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + seconds
        while time.monotonic() < end:
            while b"\n" in self._read:
                line, self._read = self._read.split(b"\n", 1)
                if line.startswith(word.encode()):
                    return
                with self._log.open("ab") as log:
                    log.write(line + b"\n")
            if select.select([descriptor], [], [], 0.2)[0]:
                if not (data := os.read(descriptor, 65_536)):
                    raise NotReady(f"it ended before it said {word}: {self.tail()}")
                self._read += data
        raise NotReady(f"it did not say {word} within {seconds:.0f} s: {self.tail()}")

    def tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-3:])[-400:] or "it said nothing"

    def kill(self) -> None:
        """kill -9, of it and all its children."""
        for one in tree(self.pid):
            with suppress(psutil.Error):
                one.kill()
        self._process.wait()
        self._guard.forget(self.pid)

    def stop(self) -> None:
        """SIGTERM, then what is left of its tree by SIGKILL."""
        processes = tree(self.pid)
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        for one in processes:
            with suppress(psutil.Error):
                one.kill()
        self._process.wait()
        self._guard.forget(self.pid)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds so far of whole process trees, with the children that they have reaped."""
    total = 0.0
    for pid in pids:
        for process in tree(pid):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def machine_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def peak_rss_mb(pids: Iterable[int]) -> float:
    """Sum of the peak resident sizes (VmHWM) of whole process trees, in MB of 10^6 bytes."""
    total_kb = 0
    for pid in pids:
        for process in tree(pid):
            with suppress(OSError, IndexError):
                text = Path(f"/proc/{process.pid}/status").read_text()
                total_kb += int(text.split("VmHWM:")[1].split()[0])
    return total_kb * 1024 / 1e6
