"""Postgres stops and comes back: what was refused meanwhile succeeds on the next attempt, on the same pool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import asyncpg
import pytest

from headrace.blobs.postgres import PostgresBlobs
from headrace.claims import Claim, Outcome
from headrace.claims.postgres import PostgresClaims
from headrace.index import RunIndex
from headrace.local.guard import Guard
from headrace.local.ports import PortBook
from headrace.local.postgres import Postgres
from headrace.local.server import Site
from headrace.messages.errors import DependencyUnavailable
from headrace.persistence.processor import PersistenceProcessor
from headrace.persistence.settings import PersistenceSettings
from headrace.postgres.errors import translated
from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from tests.persistence.records import a_run
from tests.postgres.database import mesh_settings
from tests.support.stack import data_folder

T = TypeVar("T")


@pytest.fixture
def server() -> Iterator[Postgres]:
    guard = Guard()
    try:
        with data_folder() as folder:
            postgres = Postgres(Site(folder, PortBook(folder / "ports.json"), guard), fast=True)
            postgres.start()
            try:
                yield postgres
            finally:
                postgres.stop()
    finally:
        guard.close()


@pytest.mark.parametrize("end", [Postgres.stop, Postgres.kill], ids=["stop", "kill"])
async def test_all_adapters_live_through_a_restart(server: Postgres, end: Callable[[Postgres], None]) -> None:
    async with open_pool(mesh_settings(server.url), max_size=4) as pool:
        await migrate(pool)
        use = _users(pool)
        for call in use:
            await call()
        await asyncio.to_thread(end, server)
        for _ in range(2):  # on broken connections, then on refused ones
            for call in use:
                with pytest.raises(DependencyUnavailable):
                    await call()
        await asyncio.to_thread(server.start)
        for call in use:
            await _retried(call)
        assert await pool.fetchval("SELECT count(*) FROM runs WHERE state = 'completed'") == 1


async def test_a_server_that_stops_during_writes_loses_nothing_that_was_answered(server: Postgres) -> None:
    async with open_pool(mesh_settings(server.url), max_size=4) as pool:
        await migrate(pool)
        claims = PostgresClaims(pool)
        answered: dict[int, Outcome] = {}

        async def claim(number: int) -> None:
            try:
                answered[number] = await claims.claim(Claim("s", str(number), f"t/0/{number}"))
            except DependencyUnavailable:
                await asyncio.sleep(0.01)

        async def write() -> None:
            for number in range(0, 100_000, 20):
                await asyncio.gather(*(claim(number + index) for index in range(20)))
                if stopped.is_set():
                    return

        stopped = asyncio.Event()
        writing = asyncio.create_task(write())
        for _ in range(10_000):
            if len(answered) >= 200:
                break
            await asyncio.sleep(0.001)
        await asyncio.to_thread(server.kill)
        stopped.set()
        await writing
        await asyncio.to_thread(server.start)
        kept = {int(key) for key in await _retried(lambda: _keys(pool))}
        assert set(answered) <= kept
        for number in answered:
            assert await claims.claim(Claim("s", str(number), f"t/0/{number}")) is Outcome.AGAIN


def _users(pool: asyncpg.Pool) -> list[Callable[[], Awaitable[object]]]:
    blobs = PostgresBlobs(pool)
    claims = PostgresClaims(pool)
    processor = PersistenceProcessor(pool, blobs, PersistenceSettings(_env_file=None))
    record = a_run("run-1")[-1]
    return [
        lambda: processor.handle(*record),
        lambda: claims.claim(Claim("s", "k", "t/0/0")),
        lambda: blobs.put(b"data"),
        lambda: RunIndex(pool, blobs).runs("default"),
        lambda: migrate(pool),
    ]


async def _keys(pool: asyncpg.Pool) -> list[str]:
    with translated():
        return [row["key"] for row in await pool.fetch("SELECT key FROM claims")]


async def _retried(call: Callable[[], Awaitable[T]]) -> T:
    """A server that has crashed lets clients in some time after it listens."""
    for _ in range(100):
        try:
            return await call()
        except DependencyUnavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("Postgres did not come back")
