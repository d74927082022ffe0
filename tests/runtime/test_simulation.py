"""Thousands of simulated lives of the engine, and proof that the simulation notices when an invariant is broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import pytest

from headrace.runtime import engine as engine_module
from headrace.runtime.engine import Engine
from headrace.runtime.lanes import Lanes
from headrace.runtime.offsetmap import OffsetMap
from headrace.runtime.tracker import Tracker
from tests.runtime.simulation import Violation, run

SEEDS = int(os.environ.get("HEADRACE_SIMULATION_SEEDS", "2000"))
BATCHES = 8


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_seed_breaks_an_invariant(batch: int) -> None:
    run_all(range(batch, SEEDS, BATCHES))


def _lanes_forget_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_lane", lambda self, record: record.offset)


def _position_ignores_stragglers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "position", property(lambda self: self._next))


def _map_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OffsetMap, "finished", lambda self, offset: offset < self.base)


def _ended_tenancies_still_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_keep", lambda self, item: True)


def _aborted_is_taken_for_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Engine.settle
    monkeypatch.setattr(Engine, "settle", lambda self, *, committed: original(self, committed=True))


def _committed_is_taken_for_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Engine.settle
    monkeypatch.setattr(Engine, "settle", lambda self, *, committed: original(self, committed=False))


def _no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Lanes.__init__

    def unbounded(self: Lanes[object], _max_in_flight: int) -> None:
        original(self, 10**9)

    monkeypatch.setattr(engine_module.Lanes, "__init__", unbounded)


def _parked_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "unpark", lambda self, item: None)


def _a_partition_that_drains_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(self: Engine[object], ends: Iterable[tuple[str, int, int]]) -> None:
        for topic, partition, offset in ends:
            if tenancy := self._tenancies.get((topic, partition)):
                tenancy.tracker.reach(offset)

    monkeypatch.setattr(Engine, "reached", reached)


BUGS: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    (_lanes_forget_order, "invariant 3"),
    (_position_ignores_stragglers, "invariant 4"),
    (_map_forgets, "invariant 5"),
    (_ended_tenancies_still_commit, "invariant 7"),
    (_aborted_is_taken_for_committed, "invariant (4|1/2)"),
    (_committed_is_taken_for_aborted, "invariant 1/2"),
    (_no_bound, "invariant 12"),
    (_parked_are_forgotten, "invariant 1/2/13"),
    (_a_partition_that_drains_is_read_to_its_end, "invariant 4"),
]


@pytest.mark.parametrize(("plant", "invariant"), BUGS)
def test_the_simulation_catches_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], invariant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation, match=invariant):
        run_all(range(300))


def run_all(seeds: range) -> None:
    for seed in seeds:
        run(seed)
