"""Runs whose records were written by older releases run again as they ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.reasoning.settings import ReasoningSettings
from headrace.registry.catalog import catalog_of
from headrace.replay.recorded import KnownTools
from headrace.replay.rerun import Reasoner
from headrace.replay.sealed import run_sealed
from headrace.toolspecs import SPECS
from tests.replay.golden import HERE, Golden

FILES = sorted(HERE.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_runs_run_again(path: Path) -> None:
    golden = Golden(path)
    reasoner = Reasoner(
        catalog_of([golden.definition]), KnownTools(SPECS), golden.codec, ReasoningSettings(_env_file=None)
    )
    done, waiting = run_sealed(reasoner.rerun_all(golden.chains, golden.blobs))
    assert waiting == {}
    assert {one.run_id: one.divergence for one in done if one.verdict == "diverged"} == {}
    assert len(done) == 8
    assert sum(one.records for one in done) == 15


def test_there_are_some() -> None:
    assert FILES
