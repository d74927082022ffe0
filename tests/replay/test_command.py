"""``headrace replay rebuild`` as an operator runs it, on a mesh of one's own: a process, its output, its exit code."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL
from typing import Any

import asyncpg
import pytest

from headrace.settings import MeshSettings
from tests.persistence.tables import dump
from tests.replay.command import CommandLine, Done
from tests.replay.mesh import committed, environment, filled, runs, write
from tests.replay.test_rebuild import LOSES


@pytest.fixture
def mesh(settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> MeshSettings:
    """The mesh that the environment names."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return settings


async def test_the_command_plans_refuses_and_rebuilds(mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine) -> None:
    await write(mesh, runs(0, 10))
    await filled(mesh)
    once, before = await dump(pool), await asyncio.to_thread(committed, mesh)

    async def rebuild(*arguments: str, expect: int = 0) -> Done:
        return await cli("replay", "rebuild", "--group", *arguments, expect=expect)

    plan: dict[str, Any] = json.loads((await rebuild("persistence", "--to-earliest", "--dry-run", "--json")).stdout)
    assert plan["records"] == sum(leg["records"] for leg in plan["partitions"]) == 50
    assert {leg["start"] for leg in plan["partitions"]} == {0}
    assert plan["horizon"]["retention_ms"] == 30 * 86_400_000
    assert "one of --to-earliest" in (await rebuild("persistence", expect=2)).stderr
    unconfirmed = await rebuild("persistence", "--to-earliest", "--empty-index", "--run", expect=2)
    assert "10 of runs, 40 of run_steps" in unconfirmed.stderr
    assert "say --yes too" in unconfirmed.stderr
    stranger = await rebuild("persistence", "--to-offset", "ingest.raw:0:1", "agent.jobs:0:0", expect=2)
    assert "reads no ingest.raw:0" in stranger.stderr
    assert "never emptied" in (await rebuild("audit", "--to-earliest", "--empty-index", expect=1)).stderr
    assert await dump(pool) == once
    assert await asyncio.to_thread(committed, mesh) == before

    done = await rebuild("persistence", "--to-offset", "0", "--empty-index", "--yes", "--run")
    assert await dump(pool) == once
    assert "replayable horizon: 30 days" in done.stdout
    assert "nothing is doubled" in done.stdout
    assert "50 of 50 records" in done.stderr

    await pool.execute(LOSES)
    broken = await rebuild("persistence", "--to-earliest", "--empty-index", "--yes", "--run", "--json", expect=5)
    report = json.loads(broken.stdout)
    assert [table["missing"] for table in report["tables"]] == [0, 1, 0, 0, 0]
    assert not report["ok"]


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.run_id = 'run-119' THEN PERFORM pg_advisory_xact_lock(42); END IF; RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION slow();
"""


async def test_killed_in_the_middle_the_same_command_finishes_the_job(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(mesh, runs(0, 120))
    await filled(mesh)
    once = await dump(pool)
    await pool.execute(SLOW)
    command = ["replay", "rebuild", "--group", "persistence", "--to-earliest", "--empty-index", "--yes", "--run"]
    monkeypatch.setenv("HEADRACE_PERSISTENCE_BATCH_RECORDS", "20")
    async with pool.acquire() as holder:
        await holder.execute("SELECT pg_advisory_lock(42)")  # the run of that name can't be written now
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace", *command, stdout=DEVNULL, stderr=DEVNULL
        )
        await _partly_written(pool, len(once["run_steps"]))
        process.kill()
        await process.wait()
    rows = await dump(pool)
    assert 0 < len(rows["run_steps"]) < len(once["run_steps"])
    assert "nothing is doubled" in (await cli(*command)).stdout
    assert await dump(pool) == once


async def _partly_written(pool: asyncpg.Pool, whole: int) -> None:
    deadline = time.monotonic() + 60
    while not 0 < await pool.fetchval("SELECT count(*) FROM run_steps") < whole:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
