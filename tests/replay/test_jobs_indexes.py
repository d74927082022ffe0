"""An index made again beside the live one over the API: swapped in where both are the same, and what was before is dropped."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import httpx2

from headrace.client import AsyncClient
from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replay, Replays
from headrace.messages.replay import ReplayAction
from headrace.replay.jobs.work import work_on
from headrace.settings import MeshSettings
from tests.gateway.support import error_of
from tests.persistence.tables import dump
from tests.replay.command import CommandLine
from tests.replay.mesh import filled, runs, write
from tests.replay.test_beside import mesh
from tests.replay.test_jobs import api
from tests.runtime.kafka import read_all

__all__ = ["api", "mesh"]


async def worked(mesh: MeshSettings, pool: asyncpg.Pool) -> Replay:
    """The job that waits, worked on by this process."""
    leases = Leases(pool, "test", 60.0)
    job = await leases.take("default", follows=False)
    assert job is not None
    await work_on(mesh, pool, leases, job)
    done = await Replays(pool).get("default", job.replay_id)
    assert done is not None
    return done


async def schemas(pool: asyncpg.Pool) -> list[str]:
    return [
        row[0] for row in await pool.fetch("SELECT nspname FROM pg_namespace WHERE nspname ~ '^headrace_' ORDER BY 1")
    ]


async def refused(answer: Any) -> tuple[int, str]:
    response = await answer
    return response.status_code, error_of(response)["code"]


async def test_an_index_is_rebuilt_swapped_and_dropped_over_the_api(
    mesh: MeshSettings, pool: asyncpg.Pool, api: httpx2.AsyncClient, cli: CommandLine
) -> None:
    client = AsyncClient("http://gateway", transport=api._transport)
    await write(mesh, runs(0, 6, turns=0))
    await filled(mesh)
    live = await dump(pool)
    await client.replay("rebuild", replay_id="nov", index="november", dry_run=True)
    assert await refused(api.post("/v1/replays/nov:swap")) == (409, "replay_state")
    planned = await worked(mesh, pool)
    assert (planned.state, planned.estimate and planned.estimate["offsets"] >= 18) == ("planned", True)
    await client.resume_replay("nov")
    done = await worked(mesh, pool)
    assert (done.state, done.progress and done.progress["phase"]) == ("completed", "reading"), done.error
    report = await client.replay_report("nov")
    assert report["same"]
    assert {row["table"]: row["equal"] for row in report["rows"]}["runs"] == 6
    assert await dump(pool) == live

    await pool.execute("UPDATE runs SET user_id = 'somebody else' WHERE run_id = 'run-1'")
    swap = await client.swap_index("nov")
    assert (swap.replay_id, swap.kind, swap.state) == ("nov-swap", "swap", "queued")
    differs = await worked(mesh, pool)
    assert (differs.state, "nothing was swapped" in (differs.error or "")) == ("failed", True)
    rows = {row["table"]: row for row in (await client.replay_report("nov-swap"))["rows"]}
    assert rows["runs"]["examples"] == ["differs: default/run-1"]
    assert await schemas(pool) == ["headrace_beside_november"]

    await cli(*("replay", "rebuild", "--group", "persistence", "--to-earliest", "--beside", "other", "--detach"))
    other = await worked(mesh, pool)
    assert (other.kind, other.state) == ("rebuild", "completed")
    assert await refused(api.post(f"/v1/replays/{other.replay_id}:swap")) == (409, "index_differs")
    assert await refused(api.post("/v1/replays/nov-swap:swap")) == (404, "unknown_replay")
    await client.drop_index(other.replay_id)
    assert (await worked(mesh, pool)).state == "completed"

    await pool.execute("UPDATE runs SET user_id = 'u-1' WHERE run_id = 'run-1'")
    assert (await client.swap_index("nov")).state == "queued"
    assert (await worked(mesh, pool)).state == "completed"
    assert await schemas(pool) == ["headrace_before_november"]
    assert await dump(pool) == live
    await pool.execute("UPDATE replays SET state = 'running' WHERE replay_id = 'nov-swap'")  # as if killed just then
    assert (await worked(mesh, pool)).state == "completed"
    await client.drop_index("nov")
    assert (await worked(mesh, pool)).state == "completed"
    assert (await client.replay_report("nov-drop"))["dropped"] == ["headrace_before_november"]
    assert await schemas(pool) == []
    await client.replay("drop", replay_id="none", index="november", confirm=True)
    assert "no index november" in ((await worked(mesh, pool)).error or "")

    told = [json.loads(one.value or b"") for one in await asyncio.to_thread(read_all, mesh, ReplayAction.TOPIC)]
    ends = sorted((one["replay_id"], one["kind"], one["phase"]) for one in told if one["phase"] != "begun")
    assert ends == sorted(
        [
            ("nov", "rebuild_beside", "completed"),
            ("nov-swap", "swap", "failed"),
            (other.replay_id, "rebuild_beside", "completed"),
            (f"{other.replay_id}-drop", "drop", "completed"),
            ("nov-swap", "swap", "completed"),
            ("nov-drop", "drop", "completed"),
        ]
    )
