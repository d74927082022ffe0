"""The table of aims: what is there is judged, what is missing is never called reached."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import aims


def content(**figures: Any) -> dict[str, Any]:
    return {"summary": {}, "scripts": {}, "kills": [], "transcript": {}} | figures


def verdicts(**figures: Any) -> dict[str, str]:
    lines = aims.aims(content(**figures)).splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {one[0]: one[-1].strip("* ") for one in cells}


def headrace(**more: Any) -> dict[str, Any]:
    return {"title": "headrace", "per_second": 100.0, "ratio_to_raw": 0.6, **more}


def peer(title: str, rate: float) -> dict[str, Any]:
    return {"title": title, "per_second": rate, "ratio_to_raw": None}


SHARE, AHEAD, TENFOLD = (aims.AIMS[at].what for at in (0, 1, 2))


def test_nothing_is_reached_without_figures() -> None:
    assert set(verdicts().values()) == {"not measured"}


@pytest.mark.parametrize(("share", "verdict"), [(0.5, "yes"), (0.49, "no"), (None, "not measured")])
def test_a_share_is_held_against_its_bound(share: float | None, verdict: str) -> None:
    found = headrace(ratio_to_raw=share, worker_cpu_s_per_1000=1.0)
    assert verdicts(summary={"A": {"headrace": found}})[SHARE] == verdict


def test_the_nearest_peer_decides() -> None:
    ours = headrace(worker_cpu_s_per_1000=1.0)
    slow, near = peer("DBOS", 9.0), peer("Calfkit", 11.0)
    found = verdicts(summary={"A": {"headrace": ours, "dbos": slow}})
    assert (found[AHEAD], found[TENFOLD]) == ("yes", "yes")
    found = verdicts(summary={"A": {"headrace": ours, "dbos": slow, "calfkit": near}})
    assert (found[AHEAD], found[TENFOLD]) == ("yes", "no")


def test_a_worker_that_was_not_back_before_the_next_kill_misses_the_aim() -> None:
    kill = {"variant": "headrace", "lost": 0, "doubled": 0, "kills": 2}
    what = "kill -9 under load: first result after"
    assert verdicts(kills=[{**kill, "back_s": [1.0, 1.5]}])[what] == "yes"
    assert verdicts(kills=[{**kill, "back_s": [1.0, None]}])[what] == "no"
    assert verdicts(kills=[{**kill, "back_s": [1.0, 2.5]}])[what] == "no"


def test_edges_are_medians_of_their_rounds() -> None:
    rounds = [{"ingest: a second": rate} for rate in (14_000.0, 16_000.0, 20_000.0)]
    scripts = {"edges": {"figures": {"ingest": rounds}}}
    assert verdicts(scripts=scripts)["ingest alone, a backlog"] == "yes"
    assert "| ingest | ingest: a second | 16,000 | 14,000 to 20,000 |" in aims.edges(content(scripts=scripts))
