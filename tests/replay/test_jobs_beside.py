"""Several processes on one shadow, and one that goes on with the live tail; on real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from headrace.control.replays.store import Replays
from headrace.messages.run import ToolCalls, ToolResults
from headrace.replay.shadow.following import RecentAnswers
from headrace.runtime.groups import Group
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from tests.persistence.records import a_run
from tests.replay.command import CommandLine
from tests.replay.shadows import TICKETS, about, answer, event, history, lived, says
from tests.replay.stored import produce, store
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
