"""Several processes on one shadow, and one that goes on with the live tail; on real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest

from headrace.cli.replay_shadow_work import new_replay
from headrace.control.replays.requests import ShadowRequest
from headrace.control.replays.store import Replays
from headrace.messages.run import ToolCalls, ToolResults
from headrace.registry.catalog import catalog_of
from headrace.replay.jobs.settle import settle
from headrace.replay.jobs.shadow import text_of
from headrace.replay.shadow.following import RecentAnswers
from headrace.runtime.groups import Group
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from tests.persistence.records import a_run
from tests.replay.command import CommandLine
from tests.replay.shadows import TICKETS, about, answer, event, history, lived, says
from tests.replay.stored import an_hour_ago, produce, publish, store
from tests.replay.test_jobs import SHADOW, api, reached, serving, until
from tests.replay.test_shadow import CALL, mesh, runs_of
from tests.runtime.kafka import read_all
from tests.support.simulator import simulator

__all__ = ["api", "mesh", "simulator"]

DEAR = {"reply": answer("low") | {"usage": {"input_tokens": 1_000_000}, "latency_ms": 300}}  # about 2.5 dollars


async def test_processes_share_a_shadow_and_its_cap(
    mesh: MeshSettings, pool: asyncpg.Pool, simulator: Simulator, cli: CommandLine, tmp_path: Path
) -> None:
    await history(mesh, pool, [event(number) for number in range(80)], [])
    simulator.play(says(latency_ms=400))  # half a minute for one process
    command = (
        "replay",
        "shadow",
        "--agent",
        TICKETS.name,
        "--model",
        "openai:gpt-4o",
        "--name",
        "two",
        "--yes",
        "--json",
    )
    how = ("--baseline", "0", "--workers", "2", "--max-in-flight", "1", "--max-cost", "24", "--out", str(tmp_path))
    replaying = asyncio.create_task(cli(*command, *how))

    async def both() -> bool:
        assert not replaying.done(), replaying.result()
        return sum(one.partitions > 0 for one in await asyncio.to_thread(group.members)) == 2

    group = Group(mesh, "headrace.shadow.two")
    await until(both, "the second process never came")
    simulator.play(says(DEAR))
    report = json.loads((await replaying).stdout)
    account, spent = report["account"], report["cost"]["replay_usd"]
    assert account["complete"]
    assert account["replayed"] + account["failed"]["replay_budget"] == 80
    assert 24 <= spent <= 24 + 4 * 2.6, "what both have under way is more; a cap of each would be twice as much"
    row = await Replays(pool).get("default", "two")
    assert row is not None
    assert row.spent_usd == pytest.approx(spent)
    seen = await asyncio.to_thread(read_all, mesh, "shadow.results")
    assert Counter(runs_of(seen).values()) == {1: 80}


async def test_it_goes_on_with_the_live_tail_until_it_is_ended(
    mesh: MeshSettings,
    pool: asyncpg.Pool,
    simulator: Simulator,
    api: httpx2.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_REPLAY_REPORT_SECONDS", "1")
    await history(mesh, pool, [event(number) for number in range(3)], [])
    simulator.play(says({"match": {"last_user": about(4), "turn": 0}, "reply": CALL}))
    follow = SHADOW | {"follow": True, "follow_after_s": 1, "confirm": True}
    await api.post("/v1/replays", json=follow | {"replay_id": "tail"})
    command = (sys.executable, "-m", "headrace", "replay", "shadow", "--agent", TICKETS.name, "--model", "offline")
    how = ("--follow", "--follow-after", "1", "--baseline", "0", "--name", "here", "--yes", "--out", str(tmp_path))
    here = await asyncio.create_subprocess_exec(*command, *how, stdout=DEVNULL)

    async def reported(name: str, count: int) -> Any:
        report = (await api.get(f"/v1/replays/{name}/report")).json()
        return report if "account" in report and report["account"]["replayed"] == count else None

    async with serving(mesh, pool) as service:
        await until(lambda: reported("tail", 3), "what was there is not reported")
        await until(lambda: reported("here", 3), "nor by the command")
        late = [event(4), event(5)]
        await store(mesh, [await lived(mesh, pool, one, "low", tool=True) for one in late])
        await produce(mesh, [(one, 0) for one in late])
        report = await until(lambda: reported("tail", 5), "what came is not reported")
        assert (report["account"]["records"], report["account"]["failed"]) == (5, {})
        assert report["account"]["complete"]
        behind = await reached(api, "tail", "running")
        assert (behind["progress"]["phase"], behind["follows"]) == ("following", True)
        assert (await api.post("/v1/replays/tail:cancel")).json()["state"] == "cancelled"
        here.send_signal(signal.SIGINT)
        assert await here.wait() == 0

        async def at_rest() -> bool:
            return not service.status()["replays"]

        await until(at_rest, "it went on")
    assert json.loads((tmp_path / "here.json").read_text())["account"]["records"] == 5
    assert (await api.get("/v1/replays/here")).json()["state"] == "completed"
    assert (await api.get("/v1/replays/tail/report?format=html")).status_code == 200
    ended = await api.post("/v1/replays", json=follow | {"replay_id": "past", "to": "2026-01-01T00:00:00Z"})
    assert ended.json()["state"] == "queued"


async def test_following_ends_by_its_time_its_cap_or_a_signal_with_a_whole_account(
    mesh: MeshSettings,
    pool: asyncpg.Pool,
    simulator: Simulator,
    cli: CommandLine,
    api: httpx2.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_REPLAY_REPORT_SECONDS", "600")  # what is reported is the end
    until_ms = an_hour_ago()
    await publish(mesh, TICKETS)
    times = [until_ms - 60_000] * 4 + [until_ms - 1] + [until_ms, until_ms + 1]
    same: Any = {"partition_key": "one"}  # in one order
    await produce(mesh, [(event(number, **same), at) for number, at in enumerate(times)])
    simulator.play(says(DEAR))
    begun: Any = {"agent": TICKETS.name, "baseline": 0, "follow": True, "follow_after_s": 0, "confirm": True}
    due = ShadowRequest(**begun, replay_id="due", model="openai:newer")
    plan = await settle(mesh, catalog_of([TICKETS]), due, "due")
    plan = msgspec.structs.replace(plan, until_ms=until_ms)  # by now it is over
    new = new_replay(mesh, due, "due", detached=False)
    await Replays(pool).begin(replace(new, plan=text_of(plan), confirmed=True))
    command = (sys.executable, "-m", "headrace", "replay", "shadow", "--out", str(tmp_path))
    how = ("--agent", TICKETS.name, "--model", "offline", "--baseline", "0", "--follow", "--follow-after", "0", "--yes")

    async def passed() -> bool:
        row = await Replays(pool).get("default", "told")
        return bool(row and row.progress and row.progress["passed"] >= len(times))

    capped = {
        "kind": "shadow",
        **begun,
        "replay_id": "capped",
        "model": "openai:gpt-4o",
        "max_cost_usd": 4,
        "max_in_flight": 1,
    }
    assert (await api.post("/v1/replays", json=capped)).status_code == 202
    async with serving(mesh, pool):
        await reached(api, "capped", "completed")
    ended = await asyncio.create_subprocess_exec(*command, "--resume", "due", stdout=DEVNULL)
    ending = await asyncio.create_subprocess_exec(*command, *how, "--name", "told", stdout=DEVNULL)
    await until(passed, "it does not follow")
    ending.send_signal(signal.SIGTERM)
    assert (await ending.wait(), await ended.wait()) == (0, 0)
    reports = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("due", "told")}
    reports["capped"] = (await api.get("/v1/replays/capped/report")).json()
    for report in reports.values():
        account = report["account"]
        assert account["complete"]
        assert account["records"] == account["replayed"] + sum(account["failed"].values())
    assert (reports["due"]["account"]["replayed"], reports["told"]["account"]["replayed"]) == (5, 7)
    assert reports["due"]["replay"]["to_ms"] == until_ms
    asked = {str(one.body["messages"]) for one in simulator.requests if one.body["model"] == "newer"}
    assert not [one for one in asked if about(5) in one or about(6) in one], "nothing after its time is paid for"
    assert set(reports["capped"]["account"]["failed"]) <= {"replay_budget"}
    assert 2 <= reports["capped"]["account"]["replayed"] < 7
    again = json.loads((await cli("replay", "shadow", "--resume", "due", "--out", str(tmp_path), "--json")).stdout)
    assert again["account"] == reports["due"]["account"], "of the range in the end, not of what was there when it began"


def test_answers_are_known_for_one_to_two_spans() -> None:
    now = [0.0]
    answers = RecentAnswers("reviewer", kept_s=10, clock=lambda: now[0])

    def told(name: str) -> ToolCalls:
        made = [message for message, _ in a_run(name, turns=1)]
        calls = next(one for one in made if isinstance(one, ToolCalls))
        asked = calls.replace(calls=(calls.calls[0].replace(arguments={"of": name}),))
        answers.note(asked)
        answers.note(next(one for one in made if isinstance(one, ToolResults)))
        return asked

    first = told("run-1").calls[0]
    now[0] = 11.0
    second = told("run-2").calls[0]
    assert answers.find(first, None) is not None
    now[0] = 22.0
    told("run-3")
    assert answers.find(first, None) is None
    assert answers.find(second, None) is not None
