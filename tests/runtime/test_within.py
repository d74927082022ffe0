"""The time limit of one awaitable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.runtime.within import TimeIsUp, within


async def answer(waits: float = 0.0, times: int = 1) -> str:
    for _ in range(times if waits else 0):
        await asyncio.sleep(waits)
    return "done"


async def test_what_does_not_wait_takes_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_timer(*_: Any) -> Any:
        raise AssertionError("a timer")

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", no_timer)
    assert await within(0.0, answer()) == "done"


async def test_what_waits_is_run_to_its_end() -> None:
    assert await within(5.0, answer(0.001, times=3)) == "done"


async def test_what_waits_too_long_is_cancelled_and_said_to_be() -> None:
    cleaned = False

    async def slow() -> None:
        nonlocal cleaned
        try:
            await asyncio.sleep(30)
        finally:
            cleaned = True

    with pytest.raises(TimeIsUp):
        await within(0.01, slow())
    assert cleaned
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # the task goes on


async def test_errors_pass_through_before_and_after_a_wait() -> None:
    async def fails(waits: float) -> None:
        await answer(waits)
        raise ValueError("its own")

    for waits in (0.0, 0.001):
        with pytest.raises(ValueError, match="its own"):
            await within(5.0, fails(waits))


async def test_a_timeout_inside_is_the_works_own() -> None:
    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        await within(5.0, impatient())


async def test_the_inner_of_two_limits_is_the_one_that_is_up() -> None:
    async def inner() -> str:
        with pytest.raises(TimeIsUp):
            await within(0.01, answer(30.0))
        return "outer goes on"

    assert await within(5.0, inner()) == "outer goes on"


async def test_cancelled_from_outside_is_cancelled() -> None:
    task = asyncio.create_task(within(30.0, answer(30.0)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_answers_although_its_time_is_up_has_answered() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "anyway"
        return "never"

    assert await within(0.01, stubborn()) == "anyway"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_watch_ends_what_waits_and_is_ended_with_it() -> None:
    stops: list[Callable[[], None]] = []
    ended: list[str] = []

    def watch(stop: Callable[[], None]) -> Callable[[], None]:
        stops.append(stop)
        return lambda: ended.append("over")

    assert await within(5.0, answer(), watch) == "done"
    assert stops == [], "what does not wait needs no watch"
    asyncio.get_running_loop().call_later(0.01, lambda: stops[0]())
    with pytest.raises(TimeIsUp):
        await within(30.0, answer(30.0), watch)
    assert ended == ["over"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
