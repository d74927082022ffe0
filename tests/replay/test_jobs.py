"""Replays by the API and the service: asked for over HTTP, done in processes that may be killed, on real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from headrace.cli.who import who
from headrace.client import AsyncClient, Conflict
from headrace.control.replays.leases import Leases
from headrace.control.replays.store import Replays
from headrace.gateway.app import create_app
from headrace.registry.catalog import catalog_of
from headrace.replay.jobs.service import ReplayService
from headrace.replay.settings import ReplaySettings
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from tests.gateway.support import Gateway, error_of
from tests.replay.command import CommandLine
from tests.replay.mesh import environment
from tests.replay.shadows import TICKETS, about, answer, event, history, lived, says
from tests.replay.test_shadow import mesh, results_end, runs_of
from tests.runtime.kafka import read_all
from tests.support.simulator import simulator

__all__ = ["mesh", "simulator"]

SHADOW = {"kind": "shadow", "agent": TICKETS.name, "model": "openai:newer", "baseline": 0}
OWN = ReplaySettings(_env_file=None, poll_seconds=0.1, lease_seconds=3)
TIMEOUT_S = 60.0


@pytest.fixture
def api(pool: asyncpg.Pool) -> httpx2.AsyncClient:
    """The gateway's API over the table."""
    deps = replace(Gateway().deps, tenant="default", replays=Replays(pool), catalog=catalog_of([TICKETS]))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=create_app(deps)), base_url="http://gateway")


@asynccontextmanager
async def serving(settings: MeshSettings, pool: asyncpg.Pool) -> AsyncIterator[ReplayService]:
    service = ReplayService(settings, OWN, lambda holder: Leases(pool, holder, OWN.lease_seconds))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def until(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := await look()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)
    return found


async def reached(api: httpx2.AsyncClient, name: str, *states: str) -> Any:
    async def look() -> Any:
        row = (await api.get(f"/v1/replays/{name}")).json()
        assert row["state"] in states or row["state"] not in ("failed", "completed", "cancelled"), row
        return row if row["state"] in states else None

    return await until(look, f"{name} was never {states}")


async def test_asked_for_over_http_it_is_planned_agreed_to_and_done(
    mesh: MeshSettings, pool: asyncpg.Pool, simulator: Simulator, api: httpx2.AsyncClient, cli: CommandLine
) -> None:
    events = [event(number) for number in range(8)]
    await history(mesh, pool, events, [await lived(mesh, pool, one, "low") for one in events])
    simulator.play(says({"match": {"last_user": about(1)}, "reply": answer("high")}))
    asked = await api.post("/v1/replays", json=SHADOW | {"replay_id": "one"})
    assert (asked.status_code, asked.json()["state"]) == (202, "queued")
    assert asked.headers["location"] == "/v1/replays/one"
    assert (await api.get("/v1/replays/one/report")).status_code == 404
    again = ("replay", "run", "--all", "--since", "2026-01-01T00:00:00Z", "--detach")
    assert json.loads((await cli(*again, "--name", "two", "--json")).stdout)["state"] == "queued"
    await cli("replay", "cancel", "two")
    await cli("replay", "resume", "two")
    listed = json.loads((await cli("replay", "list", "--state", "queued", "--json")).stdout)
    assert [(one["replay_id"], one["kind"]) for one in listed] == [("two", "rerun"), ("one", "shadow")]
    for wrong in (("--definition", "x.yaml"), ("--name", "Two")):
        await cli(*again, *wrong, expect=2)
    async with serving(mesh, pool) as service:
        planned = await reached(api, "one", "planned")
        assert (planned["estimate"]["chosen"], planned["estimate"]["paid"]) == (8, "openai:newer")
        assert len(simulator.requests) == 0
        assert (await api.post("/v1/replays/one:resume")).status_code == 202
        done = await reached(api, "one", "completed")
        assert (done["progress"]["passed"], done["progress"]["total"], done["holder"]) == (8, 8, None)
        client = AsyncClient("http://gateway", transport=api._transport)
        same = await client.replay("rerun", replay_id="two", since="2026-01-01T00:00:00Z")
        assert same.started_by == who()
        await reached(api, "two", "completed")
        assert json.loads((await cli("replay", "show", "two", "--json")).stdout)["report"]["runs"] == 8
        await pool.execute("UPDATE runs SET input_tokens = 1000000, cost_usd = 1")
        dear = ("--agent", TICKETS.name, "--model", "openai:newer", "--max-cost", "0.000001", "--yes", "--name", "dear")
        await cli("replay", "shadow", *dear, "--detach")
        assert "more than the cap" in (await cli("replay", "watch", "dear", expect=1)).stdout
        assert service.ready()
    assert (await client.get_replay("dear")).started_by == who()
    assert [one.replay_id for one in await client.replays(state="failed")] == ["dear"]
    assert (await client.replay_report("two"))["runs"] == 8
    with pytest.raises(Conflict):
        await client.cancel_replay("one")
    assert (await client.resume_replay("dear")).state == "queued"
    await cli("replay", "cancel", "dear")
    assert json.loads((await cli("replay", "show", "dear", "--json")).stdout)["state"] == "cancelled"
    await cli("replay", "cancel", "one", expect=2)
    await cli("replay", "show", "none", expect=4)
    report = (await api.get("/v1/replays/one/report")).json()
    assert (report["account"]["replayed"], report["account"]["complete"]) == (8, True)
    moved = {(one["live"], one["shadow"]): one["count"] for one in report["transitions"]}
    assert moved == {("low", "low"): 7, ("low", "high"): 1}
    rerun = (await api.get("/v1/replays/two/report")).json()
    assert (rerun["runs"], rerun["verdicts"]) == (8, {"identical": 8})

    page = await api.get("/v1/replays/one/report?format=html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "sandbox" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert (await api.get("/v1/replays/two/report?format=html")).status_code == 404

    again = await api.post("/v1/replays", json=SHADOW | {"replay_id": "one"})
    assert (again.status_code, again.json()["state"]) == (202, "completed")
    for path, body in (
        ("", SHADOW | {"replay_id": "one", "sample": 0.5}),
        ("/one:cancel", None),
        ("/one:resume", None),
    ):
        refused = await api.post(f"/v1/replays{path}", json=body)
        assert refused.status_code == 409, path
    listed = (await api.get("/v1/replays?state=completed")).json()["replays"]
    assert [one["replay_id"] for one in listed] == ["two", "one"]
    assert [one["started_by"] for one in listed] == [who(), "unauthenticated"]


@pytest.mark.parametrize(
    ("body", "status", "code", "where"),
    [
        ({"kind": "shadow", "agent": "nobody", "model": "offline"}, 400, "unknown_agent", "/agent"),
        (SHADOW | {"version": "9.9.9"}, 400, "unknown_agent", "/version"),
        ({"kind": "shadow", "agent": TICKETS.name}, 422, "replay_candidate", "/"),
        (SHADOW | {"where": "data."}, 422, "filter", "/where"),
        (SHADOW | {"definition": {"name": 1}}, 422, "agent_definition", "/definition"),
        (SHADOW | {"sample": 2}, 422, "request_schema", "/sample"),
        (SHADOW | {"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, 422, "request_schema", "/to"),
        ({"kind": "other"}, 422, "request_schema", "/kind"),
        ([], 422, "request_schema", "/"),
    ],
)
async def test_what_can_t_be_is_refused_with_its_place(
    body: Any, status: int, code: str, where: str, pool: asyncpg.Pool, api: httpx2.AsyncClient
) -> None:
    answer = await api.post("/v1/replays", json=body)
    assert (answer.status_code, error_of(answer)["code"], error_of(answer)["where"]) == (status, code, where)
    assert await pool.fetchval("SELECT count(*) FROM replays") == 0
    for path in ("/v1/replays/none", "/v1/replays/none/report"):
        assert (await api.get(path)).status_code == 404
    assert (await api.post("/v1/replays/none:cancel")).status_code == 404


async def test_killed_with_its_service_it_goes_on_and_cancelled_it_stops(
    mesh: MeshSettings, pool: asyncpg.Pool, simulator: Simulator, api: httpx2.AsyncClient
) -> None:
    await history(mesh, pool, [event(number) for number in range(60)], [])
    simulator.play(says(latency_ms=400))
    await api.post("/v1/replays", json=SHADOW | {"replay_id": "cut", "confirm": True, "max_in_flight": 3})
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace", "run", "replay"),
        env=environment(mesh) | {"HEADRACE_REPLAY_LEASE_SECONDS": "3"},
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )

    async def some(count: int) -> bool:
        assert service.returncode in (None, -signal.SIGKILL)
        return await asyncio.to_thread(results_end, mesh) >= count

    await until(lambda: some(2), "nothing came of it")
    os.killpg(service.pid, signal.SIGKILL)  # the child with it
    await service.wait()
    assert (await api.get("/v1/replays/cut")).json()["state"] == "running"
    before = len(await asyncio.to_thread(read_all, mesh, "shadow.results"))
    assert 0 < before < 60
    end = await asyncio.to_thread(results_end, mesh)
    async with serving(mesh, pool) as again:

        async def at_rest() -> bool:
            return not again.status()["replays"]

        await until(lambda: some(end + 2), "it did not go on")
        cancelled = await api.post("/v1/replays/cut:cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        await until(at_rest, "its process went on")
        asked = simulator.requests.total
        assert asked < 60
        simulator.play(says())
        assert (await api.post("/v1/replays/cut:resume")).json()["state"] == "queued"
        await reached(api, "cut", "completed")
    report = (await api.get("/v1/replays/cut/report")).json()
    assert (report["account"]["replayed"], report["account"]["complete"]) == (60, True)
    seen = await asyncio.to_thread(read_all, mesh, "shadow.results")
    assert Counter(runs_of(seen).values()) == {1: 60}
