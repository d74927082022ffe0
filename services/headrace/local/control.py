"""A mesh seen from outside its supervisor: start it detached, stop it, whatever state it is in.

Everything here works by the data directory alone: its instance lock says whether somebody runs on it, its state file who.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headrace.local.errors import StackError, StartFailed
from headrace.local.instance import InstanceLock
from headrace.local.process import end_leftover, start_time, tail, wait_gone
from headrace.local.progress import Progress, Step, silent
from headrace.local.state import MeshState, read_state, state_path

_POLL_SECONDS = 0.1
_detached: list[subprocess.Popen[bytes]] = []
"""Supervisors started from here. They outlive us on purpose; holding them keeps Python from warning about that."""


def up_detached(
    argv: Sequence[str], data_dir: Path, *, progress: Progress = silent, timeout: float = 900.0
) -> MeshState:
    """Runs `argv` (a command that runs a `Supervisor` on `data_dir`) in a session of its own; returns once it is ready.

    Its output goes to `<data>/logs/supervisor.log`, and line by line to `progress`. Raises `AlreadyRunning`, or
    `StartFailed` with the end of that log when it ends, or is not ready within `timeout` seconds (and is then stopped).
    """
    data_dir = data_dir.expanduser().absolute()
    log_path = data_dir / "logs" / "supervisor.log"
    # One after the other: `parents=True` of the inner one would make the outer one readable to all.
    for directory in (data_dir, log_path.parent):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = InstanceLock(data_dir)
    lock.acquire()
    lock.release()
    with os.fdopen(os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    _detached.append(process)
    return _await_ready(process, data_dir, log_path, progress, timeout)


def _await_ready(
    process: subprocess.Popen[bytes], data_dir: Path, log_path: Path, progress: Progress, timeout: float
) -> MeshState:
    deadline = time.monotonic() + timeout
    with log_path.open(errors="replace") as log:
        while True:
            for line in log:
                progress(Step("up", line.rstrip("\n")))
            state = read_state(data_dir)
            if state is not None and state.alive and state.pid == process.pid and state.phase in ("ready", "degraded"):
                return state
            if process.poll() is not None:
                reason = f"it exited with code {process.returncode}"
                raise StartFailed("the mesh", reason, log_path, tail(log_path))
            if time.monotonic() > deadline:
                down(data_dir)
                raise StartFailed("the mesh", f"not ready after {timeout:g} s", log_path, tail(log_path))
            time.sleep(_POLL_SECONDS)


def down(data_dir: Path, *, timeout: float = 90.0) -> bool:
    """Stops the mesh on this data directory and returns once all of it is gone. Returns whether one was running.

    The supervisor is signalled only if the process with its pid has its start time too. What a dead one left
    behind (processes, state file) is cleaned away.
    """
    data_dir = data_dir.expanduser().absolute()
    if not data_dir.is_dir():
        return False
    found = _stop_supervisor(data_dir, timeout)
    lock = InstanceLock(data_dir)
    lock.acquire()
    try:
        for pid_path in sorted((data_dir / "run").glob("*.json")):
            found = end_leftover(pid_path) or found
        state_path(data_dir).unlink(missing_ok=True)
    finally:
        lock.release()
    return found


def _stop_supervisor(data_dir: Path, timeout: float) -> bool:
    pid, started = _supervisor(data_dir)
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if wait_gone(pid, started, timeout):
        return True
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # its guard ends its children
    if not wait_gone(pid, started, 10):
        raise StackError(f"process {pid}, which runs the stack on {data_dir}, cannot be stopped")
    return True


def _supervisor(data_dir: Path) -> tuple[int, float]:
    """(pid, start time) of the process that runs here; (0, 0.0) when there is none."""
    state = read_state(data_dir)
    if state is not None and state.alive:
        return state.pid, state.started
    holder = InstanceLock(data_dir).holder()  # between its lock and its first state file
    return (holder, start_time(holder)) if holder else (0, 0.0)
