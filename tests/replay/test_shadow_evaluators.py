"""Evaluators over a whole replay: the command, the judge's model over HTTP, the report, the exit code, and paying once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from tests.replay.command import CommandLine
from tests.replay.shadows import TICKETS, about, answer, event, history, lived, says
from tests.replay.test_shadow import mesh
from tests.support.simulator import simulator

__all__ = ["mesh", "simulator"]

JUDGE = "gpt-4o"
HELD_TO = f"""
evaluators:
  - {{name: same-risk, kind: exact, value: output.risk}}
  - {{name: is-low, kind: regex, value: output.risk, pattern: ^low$, at_least: 0.5}}
  - {{name: brief, kind: jmespath, check: length(output.why) < `1000`}}
  - {{name: advice, kind: judge, model: "openai:{JUDGE}", question: Which one is right?}}
"""
LONG = "</script><script>alert(1)</script>" * 2_000


def judges(number: int, reply: dict[str, Any]) -> dict[str, Any]:
    return {"match": {"model": JUDGE, "last_user": about(number)}, "reply": reply}


async def test_answers_are_held_to_a_file(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    events = [event(number) for number in range(10)]
    await history(mesh, pool, events, [await lived(mesh, pool, one, "low") for one in events[:8]])
    simulator.play(
        says(
            judges(1, {"text": "They are both fine."}),
            judges(2, {"json": {"better": "neither", "reason": "</code><b>equal</b>"}}),
            judges(3, {"status": 400, "message": "no"}),
            {"match": {"model": JUDGE}, "reply": {"json": {"better": "A", "reason": "by place"}}},
            *({"match": {"model": "newer", "last_user": about(n)}, "reply": answer("high")} for n in (1, 2, 3)),
            {"match": {"model": "newer", "last_user": about(4)}, "reply": answer("low", LONG)},
            {"match": {"model": "newer", "last_user": about(5)}, "reply": {"status": 400, "message": "no"}},
        )
    )
    file = tmp_path / "held.yaml"
    file.write_text(HELD_TO)
    replay = (
        *("replay", "shadow", "--agent", TICKETS.name, "--model", "openai:newer", "--baseline", "1", "--yes"),
        *("--evaluators", str(file), "--name", "held", "--out", str(tmp_path)),
    )
    wrong = await cli(*replay, "--fail-under", "nothing=1", expect=2)
    assert "no evaluator nothing; there are: same-risk, is-low, brief, advice" in wrong.stderr
    assert "say NAME=SHARE" in (await cli(*replay, "--fail-under", "brief", expect=2)).stderr
    estimate = json.loads((await cli(*replay, "--dry-run", "--json")).stdout)
    assert JUDGE in estimate["paid"]
    assert len(simulator.requests) == 0

    ended = await cli(*replay, "--json", "--fail-under", "same-risk=0.9", expect=5)
    assert "evaluator same-risk: 4 of 8 pass, and 90.0% have to" in ended.stderr
    report = json.loads(ended.stdout)
    assert report["account"]["complete"]
    same, low, brief, advice = report["evaluators"]
    assert tally(same["candidate"]) == (4, 4, 2, 0, 0)
    assert tally(same["live"]) == (0, 0, 8, 0, 0)
    assert tally(same["baseline"]) == (8, 0, 2, 0, 0)
    assert (same["against_live"], same["against_baseline"]["lost"], same["against_baseline"]["n"]) == (None, 4, 8)
    assert tally(low["candidate"]) == (6, 4, 0, 0, 0)
    assert (low["live"]["pass"], low["against_live"]["n"], low["against_live"]["lost"]) == (8, 8, 4)
    assert low["gate"] == {"at_least": 0.5, "n": 10, "passed": True}
    assert tally(brief["candidate"]) == (8, 2, 0, 0, 0)  # the long answer is a blob, and one has none
    assert (advice["candidate"]["unparsable"], advice["candidate"]["not_judged"]) == (1, 1)
    assert sum(tally(advice["candidate"])) == 10
    assert advice["baseline"]["pass"] == 8, "the same answers ask nobody"
    assert len(judged(simulator)) == 4
    assert report["cost"]["judges_usd"] > 0
    assert report["cost"]["replay_usd"] >= report["cost"]["judges_usd"]
    worst = low["worst"][0]
    assert worst["live"] == "pass"
    assert {worst["live_run"], worst["shadow_run"]} < {run["live_run"] for run in report["worst"]} | {
        run["shadow_run"] for run in report["worst"]
    }
    html = (tmp_path / "held.html").read_text()
    assert "at least 90.0%: ✗ does not hold" in html
    assert "<script" not in html
    assert "<b>equal" not in html

    again = await cli("replay", "shadow", "--resume", "held", "--json", "--out", str(tmp_path), expect=5)
    resumed = json.loads(again.stdout)
    assert len(judged(simulator)) == 4 + 1, "only the one that did not answer is asked again"
    assert resumed["evaluators"] == report["evaluators"]
    shown = await cli("replay", "shadow", "--resume", "held", "--out", str(tmp_path), expect=5)
    assert "same-risk" in shown.stdout


async def test_judges_are_within_the_budget(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, simulator: Simulator, tmp_path: Path
) -> None:
    events = [event(number) for number in range(6)]
    await history(mesh, pool, events, [await lived(mesh, pool, one, "high") for one in events])
    dear = {"json": {"better": "neither", "reason": "r"}, "usage": {"input_tokens": 1_000_000}}
    simulator.play(says({"match": {"model": JUDGE}, "reply": dear}))
    file = tmp_path / "held.yaml"
    file.write_text(HELD_TO)
    report = json.loads(
        (
            await cli(
                *("replay", "shadow", "--agent", TICKETS.name, "--model", "openai:newer", "--baseline", "0", "--yes"),
                *("--evaluators", str(file), "--max-cost", "4", "--max-in-flight", "1", "--json"),
                *("--out", str(tmp_path), "--fail-under", "is-low=1"),
            )
        ).stdout
    )
    advice = report["evaluators"][3]["candidate"]
    assert tally(advice) == (2, 0, 0, 0, 4), (
        "2.5 dollars each, and the second one is asked before the first is too much"
    )
    assert report["cost"]["judges_usd"] == pytest.approx(5, abs=0.5)


def tally(side: dict[str, Any]) -> tuple[int, ...]:
    return tuple(side[name] for name in ("pass", "fail", "not_applicable", "unparsable", "not_judged"))


def judged(simulator: Simulator) -> list[Any]:
    return [one for one in simulator.requests if one.model == JUDGE]
