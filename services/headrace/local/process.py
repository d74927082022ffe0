"""One child process of the stack: started with a log and a pid file, stopped in order, found again when left over.

Owns the process, its pid file and its log file. Knows nothing of what the program does or when it is ready.

A pid alone says little after a crash or a reboot, since the kernel gives it out again; the pid file holds the start time
too, and a process counts as ours only if both agree.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from headrace.local.errors import Cancelled
from headrace.local.guard import Guard
from headrace.local.nursery import Entry, Forked, Nursery

_TAIL_BYTES = 8_192
_TAIL_LINES = 25
_LOG_LIMIT = 20_000_000
_SAME_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `user` is a (uid, gid) to switch to, when we are root and the program refuses to be.

    `entry` is the same as a call, for a child of the nursery.
    """

    argv: Sequence[str | Path]
    env: Mapping[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    user: tuple[int, int] | None = None
    entry: Entry | None = None


class ManagedProcess:
    """A child process named `name`. Not restarted by itself; that is the stack's decision.

    All methods may be called from any thread. `stop` and `kill` return once the process is reaped.
    """

    def __init__(
        self,
        name: str,
        log_path: Path,
        pid_path: Path,
        guard: Guard,
        closing: threading.Event | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.name = name
        self._nursery = nursery
        self._closing = closing or threading.Event()
        self.log_path = log_path
        self._pid_path = pid_path
        self._guard = guard
        self._lock = threading.RLock()
        self._popen: subprocess.Popen[bytes] | Forked | None = None
        self._stop_signal: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        with self._lock:
            return self._popen.pid if self._popen is not None and self._popen.poll() is None else None

    def exit_code(self) -> int | None:
        """The exit code (negative: the signal) once it has ended; None while it runs or before the first start."""
        with self._lock:
            return self._popen.poll() if self._popen is not None else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.pid is not None

    def start(self, command: Command) -> None:
        """Ends a left-over of an earlier run, then starts the command in a session of its own.

        Raises `Cancelled` once `closing` is set: a `stop` that came first would not have seen this process.
        """
        with self._lock:
            if self._closing.is_set():
                raise Cancelled(self.name)
            end_leftover(self._pid_path)
            self._pid_path.parent.mkdir(parents=True, exist_ok=True)
            self._stop_signal = command.stop_signal
            self._popen = self._launched(command)
            self._guard.watch(self._popen.pid, command.stop_signal)
            _save(self._pid_path, self._popen.pid, command.stop_signal)

    def _launched(self, command: Command) -> subprocess.Popen[bytes] | Forked:
        with _open_log(self.log_path) as log:
            if self._nursery is not None and command.entry is not None:
                # No answer: the nursery was killed, or can't fork. Then the command line does it.
                with suppress(OSError, EOFError):
                    return self._nursery.fork(
                        self.name, command.entry, env=command.env, cwd=command.cwd, log=self.log_path
                    )
            return subprocess.Popen(
                list(command.argv),
                env=dict(command.env),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=command.user[0] if command.user else None,
                group=command.user[1] if command.user else None,
                extra_groups=[] if command.user else None,
            )

    def stop(self, grace: float) -> None:
        """Asks it to end, waits up to `grace` seconds, then kills it. Does nothing when it has not been started."""
        with self._lock:
            if self._popen is None:
                return
            if self._popen.poll() is None:
                self._popen.send_signal(self._stop_signal)
                self._popen.send_signal(signal.SIGCONT)  # a stopped process would never see the request
                with suppress(subprocess.TimeoutExpired):
                    self._popen.wait(grace)
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and what it forked."""
        with self._lock:
            if self._popen is None:
                return
            family = _descendants(self._popen.pid) if self._popen.poll() is None else []
            self._popen.kill()
            self._popen.wait()
            self._guard.forget(self._popen.pid)
            self._popen = None
            for child in family:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            _wait_ended(family, 5)
            self._pid_path.unlink(missing_ok=True)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the running process (SIGSTOP and SIGCONT, for fault tests)."""
        with self._lock:
            if self._popen is not None:
                self._popen.send_signal(number)

    def log_tail(self) -> str:
        """The last lines of its log."""
        return tail(self.log_path)


def tail(path: Path) -> str:
    """The last 25 lines (of at most 8 KiB) of a text file; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])


def start_time(pid: int) -> float:
    """When this process started (seconds since the epoch); 0.0 if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def is_same_process(pid: int, started: float) -> bool:
    """Whether `pid` runs and is the process that started at `started`, not a later one with its number."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < _SAME_START_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_leftover(pid_path: Path, grace: float = 10.0) -> bool:
    """Ends the process of an earlier run that this pid file names. Returns whether there was one."""
    try:
        saved = json.loads(pid_path.read_text())
        pid, started, number = int(saved["pid"]), float(saved["started"]), int(saved["stop_signal"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    found = is_same_process(pid, started)
    if found:
        with suppress(psutil.NoSuchProcess):
            _end(psutil.Process(pid), number, grace)
    pid_path.unlink(missing_ok=True)
    return found


def _save(pid_path: Path, pid: int, stop_signal: signal.Signals) -> None:
    partial = pid_path.with_suffix(".partial")
    partial.write_text(json.dumps({"pid": pid, "started": start_time(pid), "stop_signal": int(stop_signal)}))
    partial.replace(pid_path)


def _end(process: psutil.Process, number: int, grace: float) -> None:
    family = [process, *_descendants(process.pid)]
    process.send_signal(number)
    process.resume()
    alive = _wait_ended(family, grace)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    _wait_ended(alive, 5)


def _wait_ended(processes: list[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Those that still run after the time-out. A zombie has ended: its new parent may take seconds to reap it."""
    deadline = time.monotonic() + timeout
    while (alive := [one for one in processes if _runs(one)]) and time.monotonic() < deadline:
        time.sleep(0.03)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(pid: int, started: float, timeout: float) -> bool:
    """Waits until that process has ended. Returns whether it has."""
    deadline = time.monotonic() + timeout
    while is_same_process(pid, started):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _open_log(path: Path) -> BinaryIO:
    """Opened for appending; what outgrew 20 MB is set aside once, so that logs stay bounded over restarts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_suffix(".1.log"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "ab")
