"""An index made again beside the live one, and swapped in: the same row by row, nothing lost, nothing else touched."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL
from typing import Any

import asyncpg
import pytest
from confluent_kafka import TopicPartition

from headrace.budgets.postgres import PostgresBudgets
from headrace.messages.budget import Budget
from headrace.replay.beside.tables import make, place_of
from headrace.runtime.cluster import Cluster
from headrace.settings import MeshSettings
from tests.persistence.tables import dump
from tests.replay.command import CommandLine, Done
from tests.replay.mesh import InThisProcess, environment, filled, joined, runs, write

COORDINATION = ("claims", "budget_accounts", "waits", "session_queue", "blobs")


@pytest.fixture
def mesh(settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> MeshSettings:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def build(mesh: MeshSettings, cli: CommandLine) -> Any:
    async def command(name: str, *more: str, expect: int = 0) -> Done:
        first = ("replay", "rebuild", "--group", "persistence", "--to-earliest")
        return await cli(*first, "--beside", name, "--timeout", "20", *more, expect=expect)

    return command


async def states(pool: asyncpg.Pool, schema: str = "public") -> dict[str, list[str]]:
    async with pool.acquire() as connection:
        found = {
            name: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")]
            for name in COORDINATION
        }
        shape = """
        SELECT tgname::text FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = $1::regnamespace
        UNION ALL SELECT indexname::text FROM pg_indexes WHERE schemaname = $1::text
        UNION ALL SELECT grantee || privilege_type FROM information_schema.role_table_grants
          WHERE table_schema = $1::text AND grantee = 'PUBLIC'
        ORDER BY 1
        """
        found["shape"] = [row[0] for row in await connection.fetch(shape, schema)]
    return found


def counts(done: Done) -> dict[str, dict[str, int]]:
    names = ("live", "beside", "equal", "moving", "gone", "missing", "new", "differs")
    return {row["table"]: {name: row[name] for name in names if row[name]} for row in json.loads(done.stdout)["rows"]}


async def test_an_index_beside_takes_the_live_one_s_place(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, build: Any
) -> None:
    await PostgresBudgets(pool).put("default", Budget(name="all", scope="tenant", tokens=10**9), "test")
    await pool.execute("INSERT INTO claims VALUES ('delivery:github', 'd-1', 'ingest.raw/0/1', 'x', now())")
    await pool.execute("GRANT SELECT ON runs TO PUBLIC")
    await write(mesh, runs(0, 20))
    await filled(mesh)
    before, once = await states(pool), await dump(pool)
    accounts = await pool.fetchval("SELECT tokens FROM budget_accounts")
    assert accounts > 0

    done = await build("november", "--json")
    assert counts(done)["runs"] == {"live": 20, "beside": 20, "equal": 20}
    assert json.loads(done.stdout)["same"]
    assert all(row["live_digest"] == row["beside_digest"] != "0" * 16 for row in json.loads(done.stdout)["rows"])
    assert (await states(pool), await dump(pool)) == (before, once)

    await write(mesh, runs(20, 4))  # which nobody has read yet
    async with InThisProcess("persistence", mesh).running():
        await asyncio.to_thread(joined, mesh)
        busy = await cli("replay", "swap", "november", "--timeout", "0.5", expect=1)
        assert "in use by" in busy.stderr
    await write(mesh, runs(24, 2))
    assert (await pool.fetchval("SELECT count(*) FROM runs")) < 26  # and this statement is prepared now
    seen = counts(await cli("replay", "swap", "november", "--json"))
    assert seen["runs"]["moving"] == 2
    assert await pool.fetchval("SELECT count(*) FROM runs") == 26
    after = await states(pool)
    swapped = await dump(pool)
    assert after["shape"] == before["shape"]
    assert {name: after[name] for name in ("claims", "waits")} == {name: before[name] for name in ("claims", "waits")}
    used = await pool.fetchval("SELECT sum(input_tokens + output_tokens)::bigint FROM runs WHERE tenant = 'default'")
    assert await pool.fetchval("SELECT tokens FROM budget_accounts") == used > accounts
    await filled(mesh)  # persistence goes on where it stood
    assert await dump(pool) == swapped
    assert await states(pool) == after

    assert await pool.fetchval("SELECT count(*) FROM headrace_before_november.runs") == 26
    assert "is kept" in (await build("november", "--swap")).stderr
    assert "say --yes" in (await cli("replay", "drop", "november", expect=2)).stderr
    assert "headrace_before_november" in (await cli("replay", "drop", "november", "--yes")).stdout
    assert "no index november" in (await cli("replay", "drop", "november", expect=4)).stderr
    assert "no index november beside" in (await cli("replay", "swap", "november", expect=1)).stderr


async def test_what_differs_is_named_and_not_swapped(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, build: Any
) -> None:
    await write(mesh, runs(0, 12))
    await filled(mesh)
    first = 'SELECT run_id, partition, "offset" FROM run_steps WHERE kind = \'job\' ORDER BY "offset" LIMIT 1'
    lost, number, offset = await pool.fetchrow(first)
    gone = TopicPartition(mesh.physical_topic("agent.jobs"), number, offset + 1)
    client = Cluster(mesh).client
    await asyncio.to_thread(lambda: [future.result(20) for future in client.delete_records([gone]).values()])
    kept = await pool.fetchval("SELECT min(run_id) FROM runs WHERE run_id <> $1", lost)
    await pool.execute("DELETE FROM events WHERE uid = (SELECT min(uid) FROM events)")
    await pool.execute("UPDATE runs SET user_id = 'somebody else' WHERE run_id = $1", kept)
    live = await dump(pool)

    found = counts(await build("one", "--json", expect=5))
    assert found["run_steps"]["gone"] == 1
    assert found["events"]["new"] == 1
    assert (found["runs"]["gone"], found["runs"]["differs"]) == (1, 1)
    refused = await cli("replay", "swap", "one", expect=5)
    assert f"differs: default/{kept}" in refused.stdout
    assert "nothing was swapped" in refused.stderr
    assert await dump(pool) == live

    await pool.execute("CREATE VIEW mine AS SELECT * FROM runs")
    assert "the view mine reads runs" in (await cli("replay", "swap", "one", "--yes", expect=1)).stderr
    await pool.execute("DROP VIEW mine; ALTER TABLE runs ADD COLUMN later TEXT")
    assert "not like the live ones" in (await cli("replay", "swap", "one", "--yes", expect=1)).stderr
    await pool.execute("ALTER TABLE runs DROP COLUMN later")
    await cli("replay", "swap", "one", "--yes")
    assert await pool.fetchval("SELECT count(*) FROM events") == 12
    assert "no name for an index" in (await build("Two words", expect=2)).stderr


async def test_without_the_rights_it_is_refused(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{mesh.topic_prefix.strip('.').replace('.', '_').replace('-', '_')}"
    await pool.execute(f"CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        url = mesh.database_url.get_secret_value()
        monkeypatch.setenv("DATABASE_URL", f"{url}{'&' if '?' in url else '?'}role={role}")
        refused = await build("mine", expect=1)
        assert "may not make schemas" in refused.stderr
        assert "does not own runs" in refused.stderr
    finally:
        await pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_killed_in_the_middle_the_same_command_finishes_the_index_beside(
    mesh: MeshSettings, pool: asyncpg.Pool, build: Any
) -> None:
    await write(mesh, runs(0, 60))
    await filled(mesh)
    once = await dump(pool)
    command = ["replay", "rebuild", "--group", "persistence", "--to-earliest", "--beside", "killed"]
    async with pool.acquire() as holder:
        await make(holder, await place_of(holder, "killed"))
        async with holder.transaction():
            await holder.execute("LOCK TABLE headrace_beside_killed.session_runs IN SHARE MODE")
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace", *command, stdout=DEVNULL, stderr=DEVNULL
            )
            await _waits_for_the_lock(pool)
            process.kill()
            await process.wait()
    assert json.loads((await build("killed", "--json")).stdout)["same"]
    assert await dump(pool) == once


async def _waits_for_the_lock(pool: asyncpg.Pool) -> None:
    deadline = time.monotonic() + 60
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'headrace_beside_killed.session_runs'::regclass"
    )
    while not await pool.fetchval(waiting):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
