"""Children that begin with everything imported: forked from a process that has done that once.

Most of a service's start is importing, and all services import mostly the same. The nursery is multiprocessing's fork server: a
process of one thread, with nothing open, that imports `preload` and then forks when it is asked to. What it imported is shared
memory until somebody writes to it. It ends when we do.

A child differs from one that was started by its command line in nothing but that line: it has a session, an environment, a folder
and a log of its own. Linux only: elsewhere system libraries don't survive a fork without exec.
"""

import importlib
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from headrace.local.errors import StackError

_COMM_BYTES = 15
_NOTICE_SECONDS = (
    0.2  # a signal that the kernel gave to another thread does not wake this one: so soon is it seen all the same
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that does what a command line does: `function` of `module` with the list `arguments`."""

    module: str
    function: str
    arguments: Sequence[str]


class Forked:
    """A child of the nursery, with the methods of `subprocess.Popen` that its owner needs. Its owner calls one at a time.

    Whether it lives is asked of the kernel, by a descriptor that no other process can come to have: the nursery, whose child it is,
    may die before it. Then its exit code is 255.
    """

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self.pid = process.pid or 0
        self._handle: int | None = None
        with suppress(ProcessLookupError):  # it has ended already
            self._handle = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._code(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it has ended. Raises `subprocess.TimeoutExpired`."""
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing when it has ended."""
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _code(self, timeout: float | None) -> int | None:
        if self._handle is not None:
            if not select.select([self._handle], [], [], timeout)[0]:
                return None
            os.close(self._handle)
            self._handle = None
        self._process.join()  # the nursery is about to say how it ended
        return self._process.exitcode


class Nursery:
    """Starts to import `preload` (a module) at once, in the background."""

    def __init__(self, preload: str) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])
        forkserver.ensure_running()

    @staticmethod
    def possible() -> bool:
        """Whether this system has what it takes: Linux 5.3 or newer."""
        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError):
            return False
        return True

    def fork(self, name: str, entry: Entry, *, env: Mapping[str, str], cwd: Path, log: Path) -> Forked:
        """A child that makes the call of `entry`; waits for the imports if they are not done."""
        arguments = (name, entry, dict(env), str(cwd), str(log))
        process = self._context.Process(target=_live, args=arguments, name=name)
        process.start()
        return Forked(process)

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Makes the call in a child and returns once it has returned; what it raises is raised here. Both go by pickle.

        Interrupted, it ends the child.
        """
        outcome, end = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_call, args=(end, function, arguments))
        process.start()
        end.close()
        try:
            while not outcome.poll(_NOTICE_SECONDS):
                pass
            error = outcome.recv()
        except EOFError:
            error = StackError(f"the process that ran {function.__name__} was killed")
        finally:
            process.kill()
            process.join()
        if error is not None:
            raise error


def _call(end: Connection, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    try:
        function(*arguments)
    except Exception as error:
        error.add_note(traceback.format_exc())  # shown where nobody expects this error
        end.send(_sendable(error))
    else:
        end.send(None)


def _sendable(error: Exception) -> Exception:
    """The error if it survives the way, else one that names it; then its trace goes to the log."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        traceback.print_exception(error)
        return StackError(f"{type(error).__name__} in the preparation")
    return error


def _live(name: str, entry: Entry, env: dict[str, str], cwd: str, log: str) -> None:
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name[:_COMM_BYTES])  # what `top` and `ps -o comm` show
    for path, flags, numbers in ((os.devnull, os.O_RDONLY, (0,)), (log, os.O_WRONLY | os.O_APPEND, (1, 2))):
        opened = os.open(path, flags)
        for number in numbers:
            os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    function: Any = getattr(importlib.import_module(entry.module), entry.function)
    function(list(entry.arguments))
