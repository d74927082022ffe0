"""Samples to results.json, and from there to the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness.catalog import VARIANTS, YARDSTICK, Choice
from benchmarks.harness.store import RESULTS, Results, close_round, summarise
from benchmarks.harness.venvs import PEERS

from benchmarks import plots, report

OURS = {"raw", "headrace"}  # run in headrace's own environment: its lock is requirements/dev.lock


def sample(variant: str, rate: float, *, session: str = "s1", number: int = 1) -> dict[str, Any]:
    zeros = ("lost", "doubled", "wrong", "p50_ms", "p99_ms", "peak_rss_mb")
    costs = ("worker_cpu_s_per_1000", "servers_cpu_s_per_1000", "client_cpu_s_per_1000")
    of = VARIANTS[variant]
    about = {"title": of.title, "promise": of.promise, "versions": "", "commit": "c", "at": "2026-01-01T00:00:00"}
    place = {"session": session, "setting": "A", "variant": variant, "round": number}
    return {**place, **about, **dict.fromkeys((*zeros, *costs), 0), "per_second": rate, "ratio_to_raw": None}


def test_a_ratio_is_to_the_yardstick_of_the_same_round() -> None:
    samples = [
        *(sample(YARDSTICK, rate, number=number) for number, rate in ((1, 1_000.0), (2, 500.0))),
        *(sample("headrace", rate, number=number) for number, rate in ((1, 400.0), (2, 300.0))),
    ]
    for number in (1, 2):
        close_round(samples, "s1", "A", number)
    ours = summarise(samples)["A"]["headrace"]
    assert (ours["per_second"], ours["ratio_to_raw"], ours["rounds"]) == (350.0, 0.5, 2)


def test_a_new_session_replaces_a_variants_samples_and_an_unfinished_one_loses_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.add(sample("headrace", 1.0))
    results.add(sample("dbos", 2.0))
    results.add(sample("headrace", 3.0, session="s2"))
    results.add(sample("headrace", 4.0, session="s2", number=2))
    kept = [(one["variant"], one["per_second"]) for one in Results(tmp_path / "results.json").content["samples"]]
    assert kept == [("dbos", 2.0), ("headrace", 3.0), ("headrace", 4.0)]


def test_the_page_and_its_plots_are_what_the_results_say() -> None:
    for path, text in report.expected(Results(RESULTS).content).items():
        assert path.read_text() == text, f"{path.name}: run python -m benchmarks.report"


def test_a_table_changes_with_its_figures() -> None:
    page = "before\n<!-- table: throughput -->\nold\n<!-- end -->\nafter\n"
    content = {"summary": summarise([sample("headrace", 1234.0) | {"ratio_to_raw": 0.5}])}
    found = report.render(page, content)
    assert "1,234 (0.50)" in found
    assert found.startswith("before\n<!-- table: throughput -->\n")
    assert found.endswith("<!-- end -->\nafter\n")
    assert "old" not in found


def test_the_page_shows_every_table() -> None:
    marked = {match["name"] for match in report._MARKED.finditer(report.PAGE.read_text())}
    assert marked == set(report.TABLES)


@pytest.mark.parametrize("folder", sorted(path.name for path in PEERS.iterdir() if (path / "run.py").exists()))
def test_every_peer_says_how_it_was_made_fair_and_is_locked_by_hash(folder: str) -> None:
    assert len((PEERS / folder / "README.md").read_text()) > 200
    assert any(one.folder == folder for one in VARIANTS.values())
    if folder not in OURS:
        lock = (PEERS / folder / "requirements.lock").read_text()
        pinned = [line for line in lock.splitlines() if "==" in line]
        assert pinned
        assert lock.count("--hash=sha256:") >= len(pinned)
        assert "://" not in lock


def test_every_variant_has_its_runner() -> None:
    assert {one.folder for one in VARIANTS.values()} == {path.parent.name for path in PEERS.glob("*/run.py")}


def test_who_is_asked_for_is_who_runs() -> None:
    def names(only: str = "", skip: str = "") -> set[str]:
        choice = Choice(frozenset(filter(None, only.split(","))), frozenset(filter(None, skip.split(","))))
        return {one.name for one in choice.variants(yardstick=True)}

    assert names("redis") == {YARDSTICK, "redis-blmove"}
    assert names("redis-blpop") == {YARDSTICK, "redis-blpop"}
    assert "dbos" not in names(skip="dbos")
    assert names() == {one.name for one in VARIANTS.values() if one.standing}
    with pytest.raises(ValueError, match="no such peer: nobody"):
        names("nobody")


def test_a_chart_is_the_same_bytes_each_time() -> None:
    panel = plots.Panel("workers", "rate", {"<one>": [(1, 10.0), (2, 30.0)]})
    assert plots.lines("Growth", [panel]) == plots.lines("Growth", [panel])
    assert "&lt;one&gt;" in plots.lines("Growth", [panel])
