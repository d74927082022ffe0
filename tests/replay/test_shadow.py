"""A shadow replay on real servers: what it replays, what it leaves alone, and what its report says."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.messages.catalog import MESSAGES, SHADOWS
from headrace.messages.replay import ReplayAction
from headrace.replay.shadow.plan import RESULTS
from headrace.runtime.meter import size_of
from headrace.runtime.ranges import Ranges
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from headrace.toolbox.composites import Composites
from tests.persistence.tables import dump
from tests.replay import shadows
from tests.replay.command import CommandLine
from tests.replay.mesh import environment
from tests.replay.shadows import QUERY, TICKETS, about, answer, event, history, live_id, lived, promoted, says
from tests.runtime.kafka import Seen, produce, read_all
from tests.support.simulator import simulator

__all__ = ["simulator"]

CALL = {"tool_calls": [shadows.CALL]}
OTHER_CALL = {"tool_calls": [{"name": "execute_pipeline", "arguments": {**QUERY, "session_id": "t"}}]}
SCRIPT = "<script>alert(1)</script>"
REPLAY = ("replay", "shadow", "--agent", TICKETS.name)


@pytest.fixture
def mesh(settings: MeshSettings, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> MeshSettings:
    """The mesh that the environment names, and its models."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HEADRACE_REPLAY_LEASE_SECONDS", "3")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-simulated")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.openai_base_url)
    return settings


def ends(settings: MeshSettings) -> dict[str, Any]:
    """Where every live topic ends."""
    topics = [message.TOPIC for message in MESSAGES if message is not ReplayAction] + [
        "reasoning.dlq",
        "tools.dlq",
        "ingest.dlq",
    ]
    return {topic: extent.partitions for topic, extent in Ranges(settings, "test").extents(topics).items()}


def results_end(settings: MeshSettings) -> int:
    """Offsets of ``shadow.results`` that are committed."""
    return sum(end for _, end in Ranges(settings, "test").extents([RESULTS])[RESULTS].partitions.values())


def bytes_of(one: Seen) -> int:
    return size_of(one.key.encode(), one.value, [(name, value.encode()) for name, value in one.headers.items()])


def runs_of(seen: list[Seen]) -> Counter[str]:
    return Counter(one.headers["ce_runid"] for one in seen)


def offered(simulator: Simulator, number: int) -> list[set[str]]:
    """The composite tools that each request about that event offers."""
    asked = [one.body for one in simulator.requests if about(number) in str(one.body["messages"])]
    names = [{tool["function"]["name"] for tool in body["tools"]} for body in asked]
    assert all("execute_pipeline" in one for one in names)
    return [one - {"execute_pipeline"} for one in names]


async def test_every_event_is_accounted_for_and_nothing_live_is_touched(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    events = [event(number) for number in range(20)]
    others = [event(30, type="order.paid"), event(1_031), event(32, tenant="other"), event(33)]
    gone, there = [await promoted(pool, {"step": "top_k", "k": k}, hours_ago=4 - k) for k in (1, 2)]
    composite = {"name": gone, "arguments": {"input_ref": "cas://x"}}
    calls = {3: shadows.CALL, 8: composite}
    lives = [await lived(mesh, pool, one, "low", call=calls.get(number)) for number, one in enumerate(events[:17])]
    await Composites(pool).demote("default", gone)
    await promoted(pool, {"step": "top_k", "k": 3}, hours_ago=0)  # after the events
    await history(mesh, pool, [*events, *others], lives)
    await asyncio.to_thread(produce, mesh, "ingest.events", [("k", b"\x00garbage")])
    simulator.play(
        says(
            {"match": {"last_user": about(1)}, "reply": answer("high", SCRIPT)},
            {"match": {"last_user": about(2)}, "reply": answer("high")},
            {"match": {"last_user": about(3), "turn": 0}, "reply": CALL},
            {"match": {"last_user": about(4), "turn": 0}, "reply": OTHER_CALL},
            {"match": {"last_user": about(8), "turn": 0}, "reply": {"tool_calls": [composite]}},
            {"match": {"last_user": about(5)}, "reply": {"status": 400, "message": "no"}},
            {"match": {"last_user": about(6)}, "reply": answer("low", "otherwise")},
        )
    )
    before, rows = await asyncio.to_thread(ends, mesh), await dump(pool)

    replay = (
        *REPLAY,
        "--model",
        "openai:newer",
        "--where",
        "data.number != `33`",
        "--name",
        "one",
        "--out",
        str(tmp_path),
    )
    dry = json.loads((await cli(*replay, "--dry-run", "--json")).stdout)
    assert (dry["records"], dry["chosen"], dry["undecodable"]) == (25, 20, 1)
    assert dry["skipped"] == {"cohort": 1, "tenant": 1, "trigger": 2}
    unconfirmed = await cli(*replay, expect=2)
    assert "this asks openai:newer, openai:sim" in unconfirmed.stderr
    assert len(simulator.requests) == 0

    report = json.loads((await cli(*replay, "--baseline", "1", "--yes", "--json")).stdout)
    account = report["account"]
    assert account["complete"]
    assert (account["records"], account["replayed"], account["without_live_run"]) == (25, 19, 3)
    assert account["skipped"] == {"cohort": 1, "tenant": 1, "trigger": 2}
    assert account["failed"] == {"replay_tool_miss": 1, "undecodable": 1}
    moved = {(one["live"], one["shadow"]): one["count"] for one in report["transitions"]}
    assert moved == {("low", "low"): 13, ("low", "high"): 2, ("low", "model_error"): 1, ("(no live run)", "low"): 3}
    assert report["agreement"]["outcome"]["value"] == 13 / 16
    assert report["baseline"]["outcome"]["n"] == 16
    why = next(one for one in report["fields"] if one["field"] == "/why")
    assert (why["compared"], why["differ"]) == (15, 2)
    assert {example["shadow"] for example in why["examples"]} == {SCRIPT, "otherwise"}
    assert {one["name"] for one in report["deltas"]} >= {"cost_usd", "latency_ms", "output_tokens"}
    assert report["worst"][0]["shadow_outcome"] != "low"

    read = report["read"]
    size = sum(map(bytes_of, await asyncio.to_thread(read_all, mesh, "ingest.events")))
    assert read["topics"]["ingest.events"] >= 3 * size, "to plan, to replay and to account"
    assert read["topics"].keys() >= {"tool.calls", "tool.results", "agent.results", RESULTS}
    assert read["bytes"] == sum(read["topics"].values())
    html = (tmp_path / "one.html").read_text()
    assert f"{read['bytes']:,} bytes of records read" in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert json.loads((tmp_path / "one.json").read_text()) == report
    assert await asyncio.to_thread(ends, mesh) == before
    assert await dump(pool) == rows
    told = [json.loads(one.value or b"") for one in await asyncio.to_thread(read_all, mesh, ReplayAction.TOPIC)]
    assert [(one["kind"], one["phase"], one["replay_id"]) for one in told] == [
        ("shadow", "begun", "one"),
        ("shadow", "completed", "one"),
    ]
    results = await asyncio.to_thread(read_all, mesh, RESULTS)
    assert Counter(runs_of(results).values()) == {1: 40}  # each event, by the candidate and by the baseline
    jobs = await asyncio.to_thread(read_all, mesh, "shadow.jobs")
    assert runs_of(jobs) == runs_of(results)
    asked, answered = [
        await asyncio.to_thread(read_all, mesh, topic) for topic in ("shadow.calls", "shadow.toolresults")
    ]
    assert (len(asked), len(answered)) == (6, 4)  # what was never recorded is answered by nobody
    for number, expected in ((3, {gone, there}), (8, {gone, there}), (7, {there}), (19, {there})):
        assert offered(simulator, number) == [expected] * (4 if number in calls else 2), number

    [listed] = json.loads((await cli("replay", "list", "--json")).stdout)
    assert (listed["replay_id"], listed["state"], listed["report"]) == ("one", "completed", report)
    assert "one already" in (await cli(*replay, "--yes", expect=2)).stderr
    worst = report["worst"][0]
    diff = json.loads((await cli("runs", "diff", worst["live_run"], worst["shadow_run"], "--json", expect=5)).stdout)
    assert diff["first"]["kind"] == "result"
    assert diff["rows"][0]["difference"] is None
    same = json.loads((await cli("runs", "diff", live_id(events[7]), live_id(events[7]), "--json")).stdout)
    assert same["same"]


async def test_a_miss_may_be_told_to_the_model_and_the_budget_ends_it(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    await history(mesh, pool, [event(number) for number in range(12)], [])
    simulator.play(
        says(
            {"match": {"turn": 0}, "reply": OTHER_CALL},
            {"match": {"last_tool": "not_recorded"}, "reply": answer("high")},
        )
    )
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Be brief.")
    same_model = (*REPLAY, "--prompt", str(prompt), "--baseline", "0")
    assert "this asks openai:sim" in (await cli(*same_model, expect=2)).stderr
    turned = await cli(*same_model, "--from", "2026-11-02", "--to", "2026-11-01", expect=2)
    assert "ends before it begins" in turned.stderr
    assert len(simulator.requests) == 0
    offline = (*REPLAY, "--baseline", "0", "--out", str(tmp_path), "--json", "--yes")
    stubbed = json.loads((await cli(*offline, "--prompt", str(prompt), "--on-miss", "stub", "--sample", "0.5")).stdout)
    account = stubbed["account"]
    assert account["complete"]
    assert 0 < account["replayed"] < 12
    assert account["skipped"] == {"sample": 12 - account["replayed"]}
    assert {one["shadow"] for one in stubbed["transitions"]} == {"high"}
    assert "Be brief." in str(simulator.requests[0].body)

    dear = {"reply": answer("low") | {"usage": {"input_tokens": 1_000_000}}}
    simulator.play(says(dear))
    capped = (*offline, "--model", "openai:gpt-4o", "--max-cost", "4", "--max-in-flight", "1")
    spent = json.loads((await cli(*capped)).stdout)
    assert spent["account"]["complete"]
    replayed = spent["account"]["replayed"]
    assert replayed in (2, 3), "about 2.5 dollars each, and one more that is under way when the second is paid"
    assert spent["account"]["failed"] == {"replay_budget": 12 - replayed}
    assert spent["cost"]["replay_usd"] == pytest.approx(2.5 * replayed, abs=0.5)


async def killed_underway(mesh: MeshSettings, *replay: str, events: int) -> None:
    """A replay in a process of its own, killed once there are some results and not all."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace", *replay), stdout=DEVNULL, stderr=DEVNULL
    )
    deadline = time.monotonic() + 60
    while await asyncio.to_thread(results_end, mesh) < 2:
        assert time.monotonic() < deadline
        assert process.returncode is None
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert 0 < len(await asyncio.to_thread(read_all, mesh, RESULTS)) < events


async def test_killed_it_goes_on_where_it_was(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    events = [event(number) for number in range(24)]
    await history(mesh, pool, events, [])
    simulator.play(says(latency_ms=500))
    replay = [*REPLAY, "--model", "openai:newer", "--name", "cut", "--yes", "--max-in-flight", "3", "--baseline", "0"]
    await killed_underway(mesh, *replay, "--out", str(tmp_path), events=24)
    simulator.play(says())

    resumed = json.loads((await cli("replay", "shadow", "--resume", "cut", "--out", str(tmp_path), "--json")).stdout)
    assert resumed["account"]["complete"]
    assert resumed["account"]["replayed"] == 24
    for topic in SHADOWS:
        if topic in ("shadow.jobs", RESULTS):
            seen = await asyncio.to_thread(read_all, mesh, topic)
            assert Counter(runs_of(seen).values()) == {1: 24}
    assert 24 <= simulator.requests.total <= 24 + 11  # what was under way is asked again, no more
