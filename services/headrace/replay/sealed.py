"""A place where code reaches nothing: an event loop that waits for nobody, and a guard over whatever would leave the process.

What is run in here can await only what is ready: the loop has no selector, no threads, and refuses to sleep. A connection that
was opened elsewhere is of no use either, since its answers belong to another loop. Opening something (a socket, a name look-up, a
process), or starting a thread that would do it, raises on the spot, and is told at the end even to code that swallows the error.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable
from functools import cache
from typing import Any, Final, NoReturn, TypeVar

from headrace.messages.errors import FatalError

T = TypeVar("T")
_LEAVING: Final = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn")
_here = threading.local()


class OutsideReached(FatalError):
    """Sealed code tried to reach something outside, or to wait for it: a defect of that code."""


def run_sealed(work: Awaitable[T]) -> T:
    """What ``work`` gives, run to its end in this thread, which must not be running a loop.

    Raises:
        OutsideReached: it opened something, or waited.
    """
    _install_guard()
    loop = _SealedLoop()
    touched: list[str] = []
    _here.touched = touched
    try:
        result = loop.run_until_complete(work)
    finally:
        _here.touched = None
        loop.end()
    if touched:
        raise OutsideReached(f"sealed code called {touched[0]}")
    return result


@cache  # an audit hook can't be taken back
def _install_guard() -> None:
    sys.addaudithook(_watch)
    start = threading.Thread.start

    def guarded(thread: threading.Thread) -> None:
        """Threads of others start as ever. Python 3.11 has no audit event for it, and the guard is of one thread."""
        _refuse("threading.Thread.start")
        start(thread)

    threading.Thread.start = guarded  # type: ignore[assignment, method-assign]


def _watch(event: str, _arguments: tuple[Any, ...], leaving: tuple[str, ...] = _LEAVING) -> None:
    """``leaving`` is bound here, since the hook is called to the very end of the process, when its module's names are gone."""
    if event.startswith(leaving):
        _refuse(event)


def _refuse(what: str) -> None:
    """Raises in sealed code only."""
    touched: list[str] | None = getattr(_here, "touched", None)
    if touched is not None:
        touched.append(what)
        raise OutsideReached(f"sealed code called {what}")


class _SealedLoop(asyncio.BaseEventLoop):
    """Runs what is ready. It is its own selector, one that finds nothing and never blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self

    def select(self, timeout: float | None) -> list[Any]:
        """Called once a round: ``timeout`` is 0 while something is ready."""
        if timeout != 0:
            raise OutsideReached("sealed code waits for something outside")
        return []

    def _process_events(self, _events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """No other thread has to wake this one."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        raise OutsideReached("sealed code asks for a thread")

    def end(self) -> None:
        """Cancel what is left, and close."""
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.close()
