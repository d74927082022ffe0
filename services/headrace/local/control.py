"""A mesh seen from outside its supervisor: start it detached, stop it, whatever state it is in; stop one service for a while.

Everything here works by the data directory alone: its instance lock says whether somebody runs on it, its state file who.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.local import holds
from headrace.local.errors import StackError, StartFailed
from headrace.local.instance import InstanceLock
from headrace.local.process import end_leftover, start_time, tail, wait_gone
from headrace.local.progress import Progress, Step, silent
from headrace.local.stack import State
from headrace.local.state import MeshState, read_state, running_state, state_path

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


@contextmanager
def service_held(data_dir: Path, service: str, *, timeout: float = 90.0) -> Iterator[None]:
    """Inside, the mesh's supervisor keeps `service` stopped. It starts it again afterwards, also if this process dies.

    Raises `NotRunning`, or `StackError` when the mesh has no such service or does not stop it within `timeout` seconds.
    """
    if service not in [one.name for one in running_state(data_dir).services]:
        raise StackError(f"the mesh on {data_dir} runs no service {service}")
    holds.place(data_dir, service)
    try:
        await_service(data_dir, service, State.STOPPED, timeout=timeout)
        yield
    finally:
        holds.lift(data_dir, service)


def await_service(data_dir: Path, service: str, state: State, *, timeout: float) -> None:
    """Until the supervisor says that `service` is in `state`. Raises `NotRunning`; `StackError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        now = next(one for one in running_state(data_dir).services if one.name == service)
        if now.state == state:
            return
        if time.monotonic() > deadline:
            raise StackError(f"the {service} service is {now.state} after {timeout:g} s, not {state}: see {now.log}")
        time.sleep(_POLL_SECONDS)


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
