"""The short form of the fault matrix: cells of the runtime, the pipeline and the gateway. ``make faults`` runs it all."""

from __future__ import annotations

import random

import pytest

from tests.faults import gateway, pipeline, report
from tests.faults.arena import Ground
from tests.faults.cells import BY_NAME
from tests.faults.matrix import MATRIX, Outcome, Verdict, run_cell

pytestmark = pytest.mark.xdist_group("three brokers")

SHORT = (
    ("kills", "consumer"),
    ("kills", "classic"),
    ("zombies", "consumer"),
    ("storm", "consumer"),
    ("commit-answers-lost", "consumer"),
    ("poison", "consumer"),
)
COMMIT_S = 0.2
"""What answers to EndTxn take: workers that commit as fast as they can keep the brokers, and with them the machine, busy."""


def judge(name: str, verdict: Verdict, seed: int, injected: list[str]) -> None:
    print(f"{name}, seed {seed}", *injected, verdict.figures, sep="\n  ")
    assert verdict.violations == []


@pytest.mark.parametrize(("name", "protocol"), SHORT)
def test_a_cell_of_the_runtime_holds(battleground: Ground, name: str, protocol: str) -> None:
    seed, cell = random.randrange(2**32), BY_NAME[name]
    battleground.slow_commits(COMMIT_S)
    verdict, _, injected = run_cell(cell, battleground, seed, cell.short_s, protocol=protocol)
    judge(name, verdict, seed, injected)


def test_the_pipeline_holds_while_its_services_die(battleground: Ground) -> None:
    seed, cell = random.randrange(2**32), pipeline.CELLS[0]
    verdict, injected = pipeline.run(cell, battleground, seed, 5.0, protocol="consumer")
    judge(cell.name, verdict, seed, injected)
    assert verdict.kills >= 1


def test_what_the_gateway_acknowledged_is_there(battleground: Ground) -> None:
    seed = random.randrange(2**32)
    verdict, injected = gateway.run(battleground, seed, 2_000)
    judge("gateway", verdict, seed, injected)
    assert verdict.figures.acknowledged > 500


def test_the_page_shows_what_was_stored() -> None:
    rows = report.load()
    assert report.PAGE.read_text() == report.written(report.PAGE.read_text(), rows)
    assert {row["cell"] for row in rows} <= set(MATRIX)
    assert {field for row in rows for field in row} <= {*Outcome.__dataclass_fields__, "at", "commit"}
