"""Sealed code reaches nothing: every way out is refused by name, also to code that swallows the refusal."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from headrace.replay.sealed import OutsideReached, run_sealed


async def test_what_is_ready_runs_with_tasks_and_all() -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def work() -> list[int]:
        return list(await asyncio.gather(child(1), child(2)))

    assert await asyncio.to_thread(run_sealed, work()) == [1, 2]


async def opens_a_socket() -> None:
    socket.socket().close()


async def looks_up_a_name() -> None:
    socket.getaddrinfo("localhost", 80)


async def starts_a_process() -> None:
    subprocess.run(["true"], check=False)  # noqa: ASYNC221


async def sleeps() -> None:
    await asyncio.sleep(0.001)


async def waits_for_nobody() -> None:
    await asyncio.get_running_loop().create_future()


async def asks_a_thread() -> None:
    await asyncio.to_thread(print)


async def has_a_thread_do_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(socket.socket).result().close()


async def connects() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


@pytest.mark.parametrize(
    "way_out",
    [
        opens_a_socket,
        looks_up_a_name,
        starts_a_process,
        sleeps,
        waits_for_nobody,
        asks_a_thread,
        has_a_thread_do_it,
        connects,
    ],
)
async def test_every_way_out_is_refused(way_out: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(OutsideReached):
        await asyncio.to_thread(run_sealed, way_out())


async def test_who_swallows_the_refusal_is_told_at_the_end() -> None:
    async def sly() -> str:
        with suppress(Exception):
            socket.socket()
        return "nobody saw it"

    with pytest.raises(OutsideReached, match="socket"):
        await asyncio.to_thread(run_sealed, sly())


async def test_a_connection_of_another_loop_is_of_no_use() -> None:
    elsewhere = asyncio.get_running_loop().create_future()

    async def borrows() -> None:
        await elsewhere

    with pytest.raises(RuntimeError, match="different loop"):
        await asyncio.to_thread(run_sealed, borrows())


def test_outside_of_it_nothing_is_guarded() -> None:
    run_sealed(asyncio.sleep(0))

    socket.socket().close()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int).result() == 0
