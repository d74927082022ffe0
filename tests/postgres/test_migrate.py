"""Migrations: once each, all or nothing, and never on a schema that the code does not know."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.postgres.migrate import Migration, migrate, packaged
from headrace.postgres.pool import open_pool
from tests.postgres.database import mesh_settings

ONE = Migration(1, "one", "CREATE TABLE one (id int)")
TWO = Migration(2, "two", "CREATE TABLE two (id int); INSERT INTO one VALUES (1)")


async def applied(pool: asyncpg.Pool) -> list[int]:
    return [row["number"] for row in await pool.fetch("SELECT number FROM headrace_migrations ORDER BY number")]


async def test_the_packaged_migrations_apply_once(empty_pool: asyncpg.Pool) -> None:
    first = await migrate(empty_pool)
    assert first == [str(migration) for migration in packaged()]
    assert await migrate(empty_pool) == []


async def test_many_at_once_apply_each_once(empty_pool: asyncpg.Pool) -> None:
    done = await asyncio.gather(*(migrate(empty_pool, [ONE, TWO]) for _ in range(8)))
    assert sorted(done) == [[]] * 7 + [["0001_one", "0002_two"]]
    assert await empty_pool.fetchval("SELECT count(*) FROM one") == 1


async def test_later_ones_are_added(empty_pool: asyncpg.Pool) -> None:
    await migrate(empty_pool, [ONE])
    assert await migrate(empty_pool, [ONE, TWO]) == ["0002_two"]


async def test_a_changed_text_stops(empty_pool: asyncpg.Pool) -> None:
    await migrate(empty_pool, [ONE])
    with pytest.raises(FatalError, match="0001_one was changed"):
        await migrate(empty_pool, [replace(ONE, sql=ONE.sql + " "), TWO])
    assert await applied(empty_pool) == [1]


async def test_line_endings_are_not_a_change(empty_pool: asyncpg.Pool) -> None:
    await migrate(empty_pool, [Migration(1, "one", "SELECT\n1")])
    assert await migrate(empty_pool, [Migration(1, "one", "SELECT\r\n1")]) == []


async def test_a_database_ahead_of_the_code_stops(empty_pool: asyncpg.Pool) -> None:
    await migrate(empty_pool, [ONE, TWO])
    with pytest.raises(FatalError, match="0002_two"):
        await migrate(empty_pool, [ONE])


async def test_a_failing_migration_leaves_nothing(empty_pool: asyncpg.Pool) -> None:
    with pytest.raises(FatalError, match="0003_three failed"):
        await migrate(empty_pool, [ONE, TWO, Migration(3, "three", "CREATE TABLE three (id nonsense)")])
    assert await empty_pool.fetchval("SELECT to_regclass('one')") is None


async def test_an_unmigrated_database_is_waited_for(empty_pool: asyncpg.Pool) -> None:
    from headrace.claims import Claim
    from headrace.claims.postgres import PostgresClaims

    with pytest.raises(DependencyUnavailable, match="42P01"):
        await PostgresClaims(empty_pool).claim(Claim("s", "k", "t/0/0"))


async def test_a_server_that_refuses_is_fatal_and_an_absent_one_is_not(database_url: str, unused_tcp_port: int) -> None:
    with pytest.raises(FatalError, match="3D000"):
        async with open_pool(mesh_settings(database_url + "_missing"), min_size=1):
            pass
    with pytest.raises(DependencyUnavailable):
        async with open_pool(mesh_settings(f"postgresql://127.0.0.1:{unused_tcp_port}/x"), min_size=1):
            pass
    with pytest.raises(FatalError, match="DATABASE_URL") as caught:
        async with open_pool(mesh_settings("mysql://me:secret@127.0.0.1/x")):
            pass
    assert "secret" not in str(caught.value)
