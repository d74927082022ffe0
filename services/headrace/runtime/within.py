"""A time limit for one awaitable, which costs next to nothing as long as the awaitable does not wait.

``asyncio.timeout`` sets up a timer before anything else, 6 us a call; three calls a run are under such a limit, and on a busy mesh
most of what they wait for is already there. Here the timer starts when the awaitable first waits.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

T = TypeVar("T")
Watch = Callable[[Callable[[], None]], Callable[[], None]]
"""Registers what ends the work early; what it returns is called when the work is over."""


class TimeIsUp(Exception):
    """The limit of ``within`` passed first, or its watch ended the work. The awaitable was cancelled."""


@types.coroutine
def within(seconds: float, work: Coroutine[Any, Any, T], watch: Watch | None = None) -> Generator[Any, Any, T]:
    """What ``work`` returns or raises; it is run in this very task. ``watch`` is set up only if ``work`` waits.

    Raises:
        TimeIsUp: after ``seconds``, or when what ``watch`` was given is called.
    """
    try:
        waits = work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    return (yield from _limited(seconds, work, waits, watch))


def _limited(seconds: float, work: Coroutine[Any, Any, T], waits: Any, watch: Watch | None) -> Generator[Any, Any, T]:
    """Hands to the event loop what ``work`` waits for, and back what comes of it, until it is done."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    cancelled_before = task.cancelling()
    expired = False

    def expire() -> None:
        nonlocal expired
        if not expired:
            expired = True
            task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    unwatch = watch(expire) if watch else None
    try:
        while True:
            try:
                value = yield waits
            except BaseException as error:
                waits = work.throw(error)
            else:
                waits = work.send(value)
    except StopIteration as done:
        return cast("T", done.value)
    except asyncio.CancelledError:
        if expired and task.cancelling() <= cancelled_before + 1:
            raise TimeIsUp from None
        raise
    finally:
        timer.cancel()
        if unwatch:
            unwatch()
        if expired:
            task.uncancel()
