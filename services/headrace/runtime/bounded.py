"""Calls into a client library that may never come back: made in a thread that can be left behind.

For calls that take a time-out and don't keep it. ``send_offsets_to_transaction`` of librdkafka 2.16 waits for a change of some
broker's state when the group's coordinator went away under it, which may never come (librdkafka issues 5456 and 5511).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

_Answer = tuple[Any, BaseException | None]


class Hung(Exception):
    """The call did not come back in time, and may still be running."""


class Bounded:
    """One thread at a time. A call that hangs keeps its thread, and what it was called with; the next call gets another one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[_Answer]] | None] | None = None

    def call(self, function: Callable[..., Any], *args: Any, limit_s: float) -> Any:
        """What ``function`` returns or raises. Raises ``Hung`` after ``limit_s``."""
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            # A daemon, so that the process can end beside a call that does not.
            threading.Thread(target=_serve, args=(self._calls,), name=self._name, daemon=True).start()
        answer: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._calls.put((lambda: function(*args), answer))
        try:
            result, error = answer.get(timeout=limit_s)
        except queue.Empty:
            self.close()
            raise Hung from None
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """The thread ends after its call, if it has one."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


def _serve(calls: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[_Answer]] | None]) -> None:
    while (item := calls.get()) is not None:
        function, answer = item
        try:
            answer.put((function(), None))
        except BaseException as error:  # it is the caller's
            answer.put((None, error))
        del item, function, answer  # else the thread would keep a producer that has to go
