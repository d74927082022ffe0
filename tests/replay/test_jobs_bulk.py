"""Many runs begun again, or cancelled, as jobs: what was counted is done, each once, through a kill; on real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from headrace.client import AsyncClient
from headrace.control.replays.requests import KINDS
from headrace.gateway.app import create_app
from headrace.messages.ids import forked_job_id
from headrace.messages.replay import ReplayAction
from headrace.replay.jobs import work
from headrace.settings import MeshSettings
from tests.gateway.support import Gateway, error_of
from tests.replay.command import CommandLine
from tests.replay.mesh import environment, filled, runs, write
from tests.replay.test_beside import mesh
from tests.replay.test_jobs import api, reached, serving, until
from tests.runtime.kafka import read_all

__all__ = ["api", "mesh"]
AGAIN = {"kind": "bulk_rerun", "agent": "reviewer", "state": "completed", "rate": 4}
PRICED = {"kind": "reprice", "since": "2026-11-01T00:00:00Z"}
WHERE = "starts_with(run_id, 'run-1')"


async def begun(mesh: MeshSettings) -> Counter[str]:
    """Run ids of the forks on the topic of jobs, with how often each is there."""
    jobs = [json.loads(one.value or b"") for one in await asyncio.to_thread(read_all, mesh, "agent.jobs")]
    return Counter(job["job_id"] for job in jobs if job.get("replay_id"))


async def test_runs_that_were_counted_begin_again_each_once_through_a_kill(
    mesh: MeshSettings, pool: asyncpg.Pool, api: httpx2.AsyncClient, cli: CommandLine
) -> None:
    await write(mesh, runs(0, 30, turns=0))
    await filled(mesh)
    chosen = {f"run-{number}" for number in (1, *range(10, 20)) if number % 3}
    await pool.execute("DELETE FROM run_steps WHERE run_id = 'run-11' AND kind = 'job'")
    await api.post("/v1/replays", json=AGAIN | {"where": WHERE, "replay_id": "again"})
    async with serving(mesh, pool):
        planned = await reached(api, "again", "planned")
    assert planned["estimate"] == {"runs": len(chosen), "agents": {"reviewer": len(chosen)}}
    await write(mesh, runs(100, 2, turns=0))  # they fit too, and nobody agreed to them
    await filled(mesh)
    await api.post("/v1/replays/again:resume")
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace", "run", "replay"),
        env=environment(mesh) | {"HEADRACE_REPLAY_LEASE_SECONDS": "2"},
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )
    marked = "SELECT count(*) FROM replay_items WHERE done_at IS NOT NULL"
    await until(lambda: pool.fetchval(marked), "nothing came of it")
    os.killpg(service.pid, signal.SIGKILL)
    await service.wait()
    assert 0 < await pool.fetchval(marked) < len(chosen)
    cut = "UPDATE replay_items SET done_at = NULL WHERE number = 1"  # as if killed between the deed and its mark
    await pool.execute(cut)
    async with serving(mesh, pool):
        done = await reached(api, "again", "completed")
    assert (done["progress"]["passed"], done["progress"]["total"]) == (len(chosen), len(chosen))
    client = AsyncClient("http://gateway", transport=api._transport)
    assert (await client.get_replay("again")).kind == "bulk_rerun"
    report = await client.replay_report("again")
    assert (report["done"], report["refused"]) == (len(chosen) - 1, 1)
    assert report["reasons"] == {"run-11": "the run's job record is gone"}
    jobs = await begun(mesh)
    assert set(jobs) == {forked_job_id("default", run, 0, NO_EDIT, "again") for run in chosen - {"run-11"}}
    assert jobs[forked_job_id("default", "run-1", 0, NO_EDIT, "again")] == 2, "the same id, which reasoning takes once"
    assert sum(jobs.values()) <= len(jobs) + 1 + 4, "and but for that at most the batch that the kill cut off"
    assert await pool.fetchval("SELECT count(*) FROM replay_items") == 0
    actions = [json.loads(one.value or b"") for one in await asyncio.to_thread(read_all, mesh, ReplayAction.TOPIC)]
    said = [(one["phase"], one["by"], one.get("records")) for one in actions if one["kind"] == "bulk_rerun"]
    assert said == [("begun", "unauthenticated", None)] * 2 + [("completed", "unauthenticated", len(chosen) - 1)]


NO_EDIT = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # SHA-256 of {}


async def test_runs_are_asked_to_end_and_what_has_ended_is_told(
    mesh: MeshSettings, pool: asyncpg.Pool, api: httpx2.AsyncClient, cli: CommandLine
) -> None:
    await write(mesh, runs(0, 6, turns=0))
    await filled(mesh)
    await pool.execute("UPDATE runs SET state = 'running' WHERE run_id IN ('run-1', 'run-2', 'run-3')")
    cancel = ("runs", "cancel", "--where", "run_id != 'run-3'", "--detach", "--json")
    row = json.loads((await cli(*cancel)).stdout)
    name = row["replay_id"]
    assert (row["kind"], row["state"]) == ("bulk_cancel", "queued")
    await cli("runs", "rerun", "--agent", "nobody", "--detach", "--yes", "--replay", "none")
    await cli("runs", "rerun", "--agent", "nobody", "--detach", "--replay", "No name", expect=2)
    async with serving(mesh, pool):
        assert (await reached(api, name, "planned"))["estimate"]["runs"] == 2
        assert await pool.fetchval("SELECT count(*) FROM cancellations") == 0
        await pool.execute("UPDATE runs SET state = 'completed' WHERE run_id = 'run-2'")
        assert "planned, 2 runs" in (await cli("replay", "watch", name)).stdout
        await cli("replay", "resume", name)
        await reached(api, name, "completed")
        assert (await reached(api, "none", "completed"))["progress"]["total"] == 0
    report = (await api.get(f"/v1/replays/{name}/report")).json()
    assert report == {"done": 1, "refused": 1, "reasons": {"run-2": "the run has ended"}}
    assert [row["run_id"] for row in await pool.fetch("SELECT run_id FROM cancellations")] == ["run-1"]


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ({"kind": "bulk_rerun"}, "request_schema", "/"),
        ({"kind": "bulk_cancel", "limit": 5}, "request_schema", "/"),
        (AGAIN | {"where": "a."}, "filter", "/where"),
        (AGAIN | {"state": "running"}, "request_schema", "/state"),
        (AGAIN | {"rate": 0}, "request_schema", "/rate"),
        ({"kind": "bulk_cancel", "agent": "a", "version": "1"}, "request_schema", "/"),
        (PRICED, "request_schema", "/"),
        (PRICED | {"model": "openai:nothing"}, "rates", "/model"),
        (PRICED | {"prices": {"a:b": {"input": 1}}}, "rates", "/prices"),
    ],
)
async def test_what_no_job_can_be_is_refused(body: Any, code: str, where: str) -> None:
    app = create_app(replace(Gateway().deps, replays=None))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway") as client:
        refused = await client.post("/v1/replays", json=body)
    assert (refused.status_code, error_of(refused)["code"], error_of(refused)["where"]) == (422, code, where)


def test_each_kind_has_its_work() -> None:
    assert set(work.KINDS) == set(KINDS)
