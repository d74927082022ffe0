"""Ends a process's children when that process dies without ending them itself (SIGKILL, out of memory, a crash).

Runs as a process of its own in its own session, with nothing but the standard library. Its standard input is a pipe
from the parent: `add PID SIGNAL` and `del PID` lines keep the list, end-of-file means that the parent is gone. Then each
listed process gets its signal (and SIGCONT, in case it is stopped), and SIGKILL after the grace period.

A pipe, not PR_SET_PDEATHSIG: that fires when the *thread* that forked ends, is Linux-only and needs a preexec hook.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 10.0


class Guard:
    """The parent's end. One a process is enough; `watch` and `forget` may be called from any thread."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True, close_fds=True
        )

    def watch(self, pid: int, stop_signal: signal.Signals) -> None:
        """From now on `pid` does not outlive this process."""
        self._tell(f"add {pid} {int(stop_signal)}\n")

    def forget(self, pid: int) -> None:
        """`pid` has ended and was reaped."""
        self._tell(f"del {pid}\n")

    def close(self) -> None:
        """Ends the guard; whatever it still watches is ended too."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # One write below PIPE_BUF is atomic. A guard that is gone protects nothing, but must not stop the work.
        with suppress(BrokenPipeError, ValueError):
            os.write(self._process.stdin.fileno(), line.encode())


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end_all(watched: dict[int, int]) -> None:
    for pid, number in watched.items():
        _send(pid, number)
        _send(pid, signal.SIGCONT)
    deadline = time.monotonic() + GRACE_SECONDS
    left = set(watched)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _send(pid, 0)}
        time.sleep(0.05)
    for pid in left:
        _send(pid, signal.SIGKILL)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, int] = {}
    for line in sys.stdin:
        verb, pid, *rest = line.split()
        if verb == "add":
            watched[int(pid)] = int(rest[0])
        else:
            watched.pop(int(pid), None)
    _end_all(watched)


if __name__ == "__main__":
    _main()
