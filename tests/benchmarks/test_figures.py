"""The benchmark's arithmetic."""

from __future__ import annotations

import pytest
from benchmarks.harness import figures
from benchmarks.harness.figures import Seen


def seen(sent: dict[int, float], arrived: list[tuple[int, float]]) -> Seen:
    return Seen(sent, arrived, wrong=0, errors=())


def test_the_clock_runs_from_the_first_submission_to_the_last_first_result() -> None:
    found = figures.outcome(seen({0: 100.0, 1: 101.0}, [(1, 101.5), (0, 104.0)]), paced=False)
    assert (found.finished, found.seconds, found.per_second) == (2, 4.0, 0.5)
    assert (found.p50_ms, found.p99_ms) == (500.0, 4000.0)


def test_what_never_came_is_lost_and_what_came_again_is_doubled() -> None:
    found = figures.outcome(seen({0: 0.0, 1: 0.0, 2: 0.0}, [(0, 1.0), (0, 9.0), (1, 2.0)]), paced=False)
    assert (found.finished, found.lost, found.doubled, found.seconds) == (2, 1, 1, 2.0)


def test_a_run_without_any_result_has_no_latency() -> None:
    found = figures.outcome(seen({0: 1.0}, []), paced=False)
    assert (found.lost, found.per_second, found.p50_ms, found.p99_ms) == (1, 0.0, None, None)


def test_the_first_second_of_a_paced_run_is_not_in_its_latencies() -> None:
    run = seen({0: 10.0, 1: 10.9, 2: 11.0}, [(0, 15.0), (1, 15.9), (2, 11.25)])
    assert figures.outcome(run, paced=True).p99_ms == 250.0
    assert figures.outcome(run, paced=False).p99_ms == 5000.0


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles_are_of_the_nearest_rank(percent: float, expected: float) -> None:
    assert figures.percentile(range(1, 101), percent) == expected


def test_a_median_is_of_those_that_are_there() -> None:
    assert figures.median([3.0, None, 1.0, 2.0]) == 2.0
    assert figures.median([None]) is None


def test_a_call_that_had_finished_is_told_from_one_that_was_open() -> None:
    log = ["s a 1 0.1", "f a 1 0.2", "s a 2 0.3", "s b 1 0.3", "s a 1 5.0", "s a 2 5.1", "s b 1 5.1", "f b 1 5", "s b"]
    found = figures.count_calls(log)
    assert (found.started, found.finished_again, found.in_flight_again) == (6, 1, 2)


def test_back_at_work_counts_from_the_restart_to_the_first_result_of_the_new_worker() -> None:
    arrived = [(0, 9.9), (1, 10.1), (2, 11.5), (3, 30.0)]
    assert figures.back_after([10.0, 12.0, 20.0], [10.05, 12.05, 20.5], arrived) == [pytest.approx(1.45), None, 9.5]
