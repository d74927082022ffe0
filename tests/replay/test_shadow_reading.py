"""Misses that are asked of the tools: a real server sees what arrives, which is reads and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from headrace.replay.shadow.reading import reads
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from headrace.toolspecs import SPECS
from headrace.toolspecs.spec import Effect, Spec
from tests.persistence.tables import dump
from tests.replay.command import CommandLine
from tests.replay.shadows import QUERY, TICKETS, about, answer, event, history, lived, promoted, says
from tests.replay.test_shadow import ends, mesh
from tests.runtime.kafka import read_all
from tests.support.json_server import JsonServer, json_server
from tests.support.simulator import simulator

__all__ = ["mesh", "simulator"]

TABLES = ("pipeline_cache", "pipelines", "pipeline_uses", "tool_intents")


@pytest.fixture(scope="module")
def shop() -> Iterator[JsonServer]:
    with json_server([{"item": "pump", "stock": 3}]) as server:
        yield server


def pipeline(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"session_id": "s", "pipeline": list(steps)}


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("search_tools", {"query": "x"}, True),
        ("execute_pipeline", pipeline({"step": "http_request", "url": "x"}, {"step": "top_k", "k": 1}), True),
        ("execute_pipeline", pipeline({"step": "http_request", "url": "x", "method": "GET"}), True),
        ("execute_pipeline", pipeline({"step": "http_request", "url": "x", "method": "POST"}), False),
        ("execute_pipeline", pipeline({"step": "http_request", "url": "x", "method": "get"}), False),
        ("execute_pipeline", pipeline({"step": "http_request", "url": "x", "method": None}), False),
        ("execute_pipeline", pipeline({"step": "top_k"}, {"step": "http_request", "method": "POST"}), False),
        ("execute_pipeline", {"pipeline": "http_request"}, False),
        ("execute_pipeline", {"pipeline": ["http_request"]}, False),
        ("execute_pipeline", None, False),
        ("openapi_action", {"openapi_url": "x", "operation_id": "list"}, False),
        ("delegate_to_agent", {}, False),
        ("patch_workflow", {}, False),
    ],
)
def test_what_reads(tool: str, arguments: Any, expected: bool) -> None:
    assert reads(SPECS[tool], arguments) is expected


@pytest.mark.parametrize(("effect", "expected"), [("none", True), ("idempotent", False), ("once", False)])
def test_tools_of_others_read_by_their_effect(effect: Effect, expected: bool) -> None:
    spec = Spec("wiki__find", "mcp-1", "Finds.", {"type": "object"}, effect)
    assert reads(spec, pipeline({"step": "http_request", "url": "x"})) is expected


async def test_what_was_not_recorded_is_read_and_never_written(
    mesh: MeshSettings,
    pool: asyncpg.Pool,
    cli: CommandLine,
    simulator: Simulator,
    shop: JsonServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_EGRESS_ALLOW_PRIVATE", shop.address)
    events = [event(number) for number in range(10)]
    lives = [await lived(mesh, pool, one, "low", tool=number == 3) for number, one in enumerate(events)]
    await history(mesh, pool, events, lives)
    asked = [
        pipeline({"step": "http_request", "url": f"{shop.url}/stock", "params": {"of": "pump"}}),
        pipeline({"step": "http_request", "url": f"{shop.url}/order", "method": "POST", "params": {"of": "pump"}}),
        pipeline({"step": "http_request", "url": "https://elsewhere.example/stock"}),
        QUERY,  # recorded
        pipeline({"step": "http_request", "url": "http://127.0.0.1:9/metadata"}),
    ]
    others = [
        ("openapi_action", {"openapi_url": f"{shop.url}/openapi.json", "operation_id": "stock"}),
        ("search_tools", {"query": "stock of pumps"}),
        ("delegate_to_agent", {"agent_type": "mesh_agent", "task": "x"}),
        ("execute_pipeline", asked[0]),
        (await promoted(pool, asked[0]["pipeline"][0], hours_ago=1), {}),
    ]
    calls = [("execute_pipeline", arguments) for arguments in asked] + others
    first = [
        {"match": {"last_user": about(n), "turn": 0}, "reply": {"tool_calls": [{"name": tool, "arguments": arguments}]}}
        for n, (tool, arguments) in enumerate(calls)
    ]
    pumps = {"match": {"last_tool": "pump"}, "reply": answer("high", "there are pumps")}
    simulator.play(says(*first, pumps))
    candidate = tmp_path / "candidate.yaml"
    tools = ["execute_pipeline", "openapi_action", "search_tools", "delegate_to_agent"]
    fields = TICKETS.replace(version="2.0.0", tools=tuple(tools), http_domains=("127.0.0.1",)).plain(defaults=False)
    candidate.write_text(yaml.safe_dump({k: v for k, v in fields.items() if k in CANDIDATE}))
    before, rows, kept = await asyncio.to_thread(ends, mesh), await dump(pool), await counts(pool)

    replay = ("replay", "shadow", "--agent", TICKETS.name, "--definition", str(candidate), "--baseline", "0", "--yes")
    report = json.loads(
        (await cli(*replay, "--on-miss", "live-readonly", "--json", "--out", str(tmp_path), "--name", "reads")).stdout
    )
    assert report["account"]["complete"]
    assert report["account"]["failed"] == {"replay_tool_miss": 3}  # the POST, the OpenAPI operation, the sub-agent
    assert report["account"]["answered_live"] == 6
    assert sorted(shop.asked) == ["GET /stock?of=pump"] * 3, "nothing came out of the live cache either"
    assert {one["shadow"] for one in report["transitions"]} == {"low", "high"}
    assert next(one["count"] for one in report["transitions"] if one["shadow"] == "high") == 3
    answered = [json.loads(one.value) for one in await asyncio.to_thread(read_all, mesh, "shadow.toolresults")]
    outcomes = [outcome for one in answered for outcome in one["results"]]
    assert sorted(one.get("asked_live", False) for one in outcomes) == [False] + [True] * 6
    errors = sorted(one["error"]["type"] for one in outcomes if one.get("error"))
    assert errors == ["egress_denied", "egress_denied"], (
        "the host that is not the candidate's, the port that is nobody's"
    )
    assert await asyncio.to_thread(ends, mesh) == before
    assert await dump(pool) == rows
    assert await counts(pool) == kept == dict.fromkeys(TABLES, 0) | {"pipelines": 1, "pipeline_uses": 1}
    assert "<b>6</b>tool calls answered live" in (tmp_path / "reads.html").read_text()


CANDIDATE = frozenset(
    {"name", "version", "category", "description", "system_prompt", "model"}
    | {"tools", "http_domains", "output_schema", "triggers", "limits"}
)


async def counts(pool: asyncpg.Pool) -> dict[str, int]:
    return {name: await pool.fetchval(f"SELECT count(*) FROM {name}") for name in TABLES}
