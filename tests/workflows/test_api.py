"""The endpoints of workflows over a real Postgres, and the tool that changes them through these endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from headrace.gateway.app import create_app
from headrace.gateway.ports import WorkflowStore
from headrace.gateway.server import GatewayServer
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.workflow import WorkStart
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from headrace.tools.api import ToolContext, ToolFailure
from headrace.tools.registry import ToolRegistry
from headrace.tools.workflow.patch import PatchWorkflow, orchestrator_client
from headrace.workflows.events import Begun
from headrace.workflows.graph import plan_of
from headrace.workflows.machine import advance, fresh
from headrace.workflows.repository import WorkflowRepository
from headrace.workflows.runs import Pinned, WorkflowRuns
from tests.gateway.support import Gateway, error_of
from tests.postgres.database import empty_pool, pool
from tests.tools.servers import always, serving
from tests.workflows.support import task, workflow

__all__ = ["empty_pool", "pool"]

FLIGHTS = {"tag": "main", "owner": "sdutt", "nodes": [task("fetch_flights")]}
NOTIFY = [  # test prompt 2 of the protocol's own document
    {"op": "add", "path": "/nodes/-", "value": {"id": "price_check", "type": "condition", "expr": "price < 500"}},
    {
        "op": "add",
        "path": "/nodes/-",
        "value": {"id": "send_email", "type": "task", "config": {"action": "email", "subject": "Price drop!"}},
    },
    {"op": "add", "path": "/edges/-", "value": {"from": "fetch_flights", "to": "price_check"}},
    {"op": "add", "path": "/edges/-", "value": {"from": "price_check", "to": "send_email", "condition": "true"}},
]
SPEC = {"operations": NOTIFY, "description": "Add price drop email notification"}


@pytest.fixture
def gateway(pool: asyncpg.Pool) -> Gateway:
    made = Gateway()
    store = WorkflowStore(WorkflowRepository(pool), WorkflowRuns(pool))
    made.deps = replace(made.deps, workflows=store, catalog=catalog_of(builtin_definitions()))
    made.app = create_app(made.deps)
    return made


@pytest.fixture
async def api(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway.client() as client:
        yield client


async def test_a_workflow_says_when_it_is_due(api: httpx2.AsyncClient, gateway: Gateway) -> None:
    daily = {"type": "schedule", "cron": "30 8 * * *", "timezone": "Asia/Tokyo"}
    await api.post("/workflows", json=FLIGHTS | {"triggers": [daily]})
    times = [datetime.fromisoformat(time) for time in (await api.get("/workflows/main")).json()["next_times"]]
    assert [(time.hour, time.minute, time.utcoffset()) for time in times] == [(23, 30, timedelta(0))] * 5
    assert [later - time for time, later in pairwise(times)] == [timedelta(days=1)] * 4
    wrong = {"op": "replace", "path": "/triggers/0/cron", "value": "30 25 * * *"}
    refused = error_of(await api.post("/workflows/main:patch", json=patch(operations=[wrong])))
    assert (refused["code"], refused["where"]) == ("workflow_definition", "/triggers/0/cron")
    assert "bad hour" in refused["message"]
    right = {"op": "replace", "path": "/triggers", "value": [{"type": "schedule", "every_s": 60}]}
    assert (await api.post("/workflows/main:patch", json=patch(operations=[right]))).status_code == 200
    assert len((await api.get("/workflows/main")).json()["next_times"]) == 5
    assert (await api.get("/workflows/main", params={"version": 1})).json()["next_times"] == [], "it is not live"


def patch(base: int | None = 1, owner: str = "sdutt", **more: Any) -> dict[str, Any]:
    return {"workflow_owner": owner, "base_version": base, **SPEC, **more}


async def test_a_workflow_is_stored_changed_and_taken_back(api: httpx2.AsyncClient) -> None:
    created = await api.post("/workflows", json=FLIGHTS)
    assert (created.status_code, created.json()["version"]) == (201, 1)
    assert error_of(await api.post("/workflows", json=FLIGHTS))["code"] == "workflow_exists"
    changed = await api.post("/workflows/main:patch", json=patch())
    assert changed.status_code == 200, changed.text
    assert changed.json()["patch_id"] != created.json()["patch_id"]
    definition = (await api.get("/workflows/main")).json()["definition"]
    assert [node["id"] for node in definition["nodes"]] == ["fetch_flights", "price_check", "send_email"]
    body = {"workflow_owner": "sdutt", "base_version": 2, "version": 1}
    assert (await api.post("/workflows/main:rollback", json=body)).json()["version"] == 3
    history = (await api.get("/workflows/main/history")).json()["versions"]
    assert [(one["version"], one["kind"]) for one in history] == [(3, "rolled_back"), (2, "patched"), (1, "created")]
    assert history[1]["operations"] == NOTIFY
    assert history[1]["description"] == SPEC["description"]
    assert (await api.get("/workflows/main?version=2")).json()["definition"] == definition
    assert [one["version"] for one in (await api.get("/workflows")).json()["workflows"]] == [3]


@pytest.mark.parametrize(
    ("body", "status", "code", "where"),
    [
        (patch(base=None), 409, "version_conflict", None),
        (patch(base=7), 409, "version_conflict", None),
        (patch(owner="eve"), 403, "not_the_owner", None),
        (patch(operations=NOTIFY[2:3]), 422, "workflow_definition", "/edges/0/to"),
        (patch(operations=[*NOTIFY, *NOTIFY[:1]]), 422, "workflow_definition", "/nodes/1/id"),
        (patch(operations=[{"op": "move", "path": "/nodes/0"}]), 422, "workflow_definition", "/operations/0"),
        (patch(operations=[{"op": "remove", "path": "/nodes/0"}]), 422, "workflow_definition", "/nodes"),
        (patch(operations=[]), 422, "workflow_definition", "/operations"),
        (patch(extra=1), 422, "request_schema", "/extra"),
        ({"base_version": 1, "operations": NOTIFY}, 422, "request_schema", "/workflow_owner"),
    ],
)
async def test_a_patch_that_is_refused_says_why_and_changes_nothing(
    api: httpx2.AsyncClient, body: dict[str, Any], status: int, code: str, where: str | None
) -> None:
    await api.post("/workflows", json=FLIGHTS)
    answer = await api.post("/workflows/main:patch", json=body)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error.get("where")) == (status, code, where), error
    assert (await api.get("/workflows/main")).json()["version"] == 1


async def test_a_run_is_a_record_first_and_its_key_names_it(gateway: Gateway, api: httpx2.AsyncClient) -> None:
    await api.post("/workflows", json=FLIGHTS)
    started = [await api.post("/workflows/main:run", json={"input": 1, "idempotency_key": "k"}) for _ in range(2)]
    assert {one.status_code for one in started} == {202}
    first, again = (send.message for send in gateway.publisher.sends)
    assert first == again
    assert (first.start.tag, first.start.version, first.start.input) == ("main", 1, 1)
    assert started[0].json()["status_url"] == f"/workflow-runs/{first.run_id}"
    other = await api.post("/workflows/main:run", json={"input": 1})
    assert other.json()["run_id"] != first.run_id
    assert error_of(await api.post("/workflows/nothing:run", json={}))["code"] == "unknown_workflow"
    for path in ("", ":pause", ":cancel"):
        answer = await api.request("POST" if path else "GET", f"/workflow-runs/{first.run_id}{path}")
        assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_run")


# --- the tool

CONTEXT = ToolContext(
    tenant="acme",
    run_id="run-1",
    agent="assistant",
    tools=("patch_workflow",),
    domains=(),
    idempotency_key="call-1",
    remaining_s=30.0,
    user_id="sdutt",
)
ARGUMENTS = {"workflow_tag": "main", "patch_spec": SPEC}
KEY = "hrk_planted-canary"


@pytest.fixture
async def tools(gateway: Gateway) -> AsyncIterator[ToolRegistry]:
    """The tool, and the gateway on a real port."""
    server = GatewayServer(gateway.app, gateway.settings)
    await server.start()
    async with orchestrator_client(f"http://127.0.0.1:{server.port}", SecretStr(KEY)) as client:
        yield ToolRegistry([PatchWorkflow(client)])
    await server.stop()


async def test_the_tool_patches_once_however_often_its_call_is_made(
    tools: ToolRegistry, api: httpx2.AsyncClient
) -> None:
    await api.post("/workflows", json=FLIGHTS)
    made = [(await tools.run("patch_workflow", ARGUMENTS, CONTEXT)).content for _ in range(2)]
    assert {one["patch_id"] for one in made} == {(await api.get("/workflows/main")).json()["patch_id"]}
    assert [one["version"] for one in made] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "context", "type_"),
    [
        ({"workflow_tag": "nothing"}, {}, "unknown_workflow"),
        ({"workflow_tag": "../v1/runs"}, {}, "invalid_arguments"),
        ({"workflow_tag": "main?x=1"}, {}, "invalid_arguments"),
        ({"patch_spec": {"operations": NOTIFY[2:3]}}, {}, "workflow_definition"),
        ({"patch_spec": {"operations": []}}, {}, "invalid_arguments"),
        ({"workflow_owner": "sdutt"}, {"user_id": "eve"}, "not_the_owner"),  # what a model names counts for nothing
        ({}, {"user_id": "eve"}, "not_the_owner"),
        ({}, {"user_id": None}, "not_the_owner"),
        ({}, {"tools": ()}, "not_allowed"),
    ],
)
async def test_the_tool_refuses_in_words(
    tools: ToolRegistry, api: httpx2.AsyncClient, arguments: Any, context: Any, type_: str
) -> None:
    await api.post("/workflows", json=FLIGHTS)
    with pytest.raises(ToolFailure) as failure:
        await tools.run("patch_workflow", {**ARGUMENTS, **arguments}, CONTEXT._replace(**context))
    assert failure.value.type == type_, failure.value
    assert KEY not in str(failure.value)
    assert (await api.get("/workflows/main")).json()["version"] == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error": {"code": "unauthorized", "message": "hrk_planted-canary"}}', "orchestrator_refused"),
        (200, b"<html>", "orchestrator_error"),
        (302, b"{}", "orchestrator_error"),
        (503, b"{}", None),
    ],
)
async def test_an_orchestrator_that_misbehaves_is_named_without_the_credential(
    status: int, body: bytes, error: str | None
) -> None:
    async with serving(always(status, body)) as server, orchestrator_client(server.url, SecretStr(KEY)) as client:
        with pytest.raises((ToolFailure, DependencyUnavailable)) as failure:
            await PatchWorkflow(client).run(ARGUMENTS, CONTEXT)
    assert getattr(failure.value, "type", None) == error
    assert KEY not in str(failure.value)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_starts_and_signals_count_for_the_rate_and_stopping_never_does(pool: asyncpg.Pool) -> None:
    gateway = Gateway(gateway_rate=0.1, gateway_burst_s=10, monotonic=lambda: 0.0)
    runs = WorkflowRuns(pool)
    store = WorkflowStore(WorkflowRepository(pool), runs)
    gateway.deps = replace(gateway.deps, workflows=store, catalog=catalog_of(builtin_definitions()))
    gateway.app = create_app(gateway.deps)
    async with gateway.client() as client:
        await client.post("/workflows", json=FLIGHTS)
        started = (await client.post("/workflows/main:run", json={})).json()
        refused = await client.post("/workflows/main:run", json={})
        assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "10"
        await begun(runs, started["run_id"])
        path = f"/workflow-runs/{started['run_id']}"
        assert (await client.post(f"{path}/signals/go", json={})).status_code == 429
        for stop in ("pause", "cancel"):
            assert (await client.post(f"{path}:{stop}")).status_code == 202
    assert [send.message.kind for send in gateway.publisher.sends] == ["start", "pause", "cancel"]


async def begun(runs: WorkflowRuns, run_id: str) -> None:
    """Store the run, as orchestration does."""
    plan = plan_of(workflow([task("fetch_flights")]))
    start = WorkStart(tag="main", version=1)
    run = Pinned(tenant="acme", run_id=run_id, tag="main", version=1, start=start, started_ms=1)
    state, commands = advance(plan, fresh(plan, "acme", run_id, None), Begun(), 1)
    assert await runs.begin(run, "e", state, commands, 1)
