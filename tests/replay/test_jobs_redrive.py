"""Dead letters sent back as a job: of one service alone, each once, edited or not at all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import httpx2

from headrace.client import AsyncClient
from headrace.messages.replay import ReplayAction
from headrace.runtime.deadletters import DeadLetters
from headrace.settings import MeshSettings
from tests.contract.kafka import write
from tests.contract.test_redrive_edited import JOB, PATCH, letter
from tests.gateway.support import error_of
from tests.replay.command import CommandLine
from tests.replay.test_beside import mesh
from tests.replay.test_jobs import api
from tests.replay.test_jobs_indexes import worked
from tests.runtime.kafka import read_all

__all__ = ["api", "mesh"]


async def test_dead_letters_of_one_service_go_back_once(
    mesh: MeshSettings, pool: asyncpg.Pool, api: httpx2.AsyncClient, cli: CommandLine, tmp_path: Path
) -> None:
    client = AsyncClient("http://gateway", transport=api._transport)
    values = [json.dumps(JOB | {"job_id": f"job-{number}"}).encode() for number in range(3)]
    await asyncio.to_thread(write, mesh, [*map(letter, values), letter(values[0], "persistence")])
    boxes = {name: DeadLetters(mesh, name) for name in ("reasoning", "persistence")}
    ids = [entry.id for entry in await asyncio.to_thread(boxes["reasoning"].entries)]

    await client.replay("redrive", replay_id="slip", service="reasoning", edit=[{"op": "remove", "path": "/none"}])
    slip = await worked(mesh, pool)
    assert (slip.state, "dead letter" in (slip.error or "")) == ("failed", True)
    await client.replay("redrive", replay_id="all", service="reasoning", edit=PATCH)
    planned = await worked(mesh, pool)
    assert planned.state == "planned"
    assert planned.estimate == {
        "entries": 3,
        "gone_already": 0,
        "causes": {"rejected": 3},
        "topics": {"agent.jobs": 3},
    }
    assert await asyncio.to_thread(read_all, mesh, "agent.jobs") == []
    await asyncio.to_thread(boxes["reasoning"].redrive, [ids[1]])  # by somebody else, meanwhile
    await client.resume_replay("all")
    assert (await worked(mesh, pool)).state == "completed"
    told = await client.replay_report("all")
    assert told == {"done": 2, "refused": 1, "reasons": {ids[1]: "it has gone back already"}}

    (edit := tmp_path / "edit.json").write_text(json.dumps(PATCH))
    await cli("dlq", "redrive", "reasoning", *ids, "--edit", str(edit), "--detach")
    again = await worked(mesh, pool)
    assert (again.state, again.started_by[:4], again.estimate) == (
        "completed",
        "cli:",
        {"entries": 0, "gone_already": 3, "causes": {}, "topics": {}},
    )
    jobs = [json.loads(one.value or b"") for one in await asyncio.to_thread(read_all, mesh, "agent.jobs")]
    assert sorted((job["job_id"], job["prompt"]) for job in jobs) == [
        ("job-0", "hello again"),
        ("job-1", "hello"),
        ("job-2", "hello again"),
    ]
    [other] = await asyncio.to_thread(boxes["persistence"].entries)
    assert not other.redriven
    actions = [json.loads(one.value or b"") for one in await asyncio.to_thread(read_all, mesh, ReplayAction.TOPIC)]
    ends = [(one["replay_id"], one["service"], one["records"]) for one in actions if one["phase"] == "completed"]
    assert ends == [("all", "reasoning", 2), (again.replay_id, "reasoning", 0)]

    for body, where in (({"service": "nobody"}, "/service"), ({"service": "tools", "entries": ["x"]}, "/entries[0]")):
        refused = await api.post("/v1/replays", json={"kind": "redrive", **body})
        assert (refused.status_code, error_of(refused)["where"]) == (422, where)
    large = await api.post("/v1/replays", json={"kind": "redrive", "service": "tools", "edit": "x" * 300_000})
    assert "262144" in error_of(large)["message"]
