"""Totals: sums in any grouping, and percentiles within what is promised."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.messages.totals import ACCURACY, GAMMA, Run, Totals, bucket, merged

RUNS = st.builds(
    Run,
    failed=st.booleans(),
    model=st.sampled_from(("", "a", "b")),
    input_tokens=st.integers(-5, 10**9),
    output_tokens=st.integers(0, 10**9),
    cost_usd=st.one_of(st.floats(0, 10), st.sampled_from((-1.0, math.inf, math.nan))),
    duration_ms=st.none() | st.integers(-10, 10**9),
)


@settings(deadline=None)
@given(st.lists(RUNS), st.randoms())
def test_any_grouping_and_order_gives_the_same(runs: list[Run], rng: object) -> None:
    whole = merged(Totals.of(run) for run in runs)
    shuffled = list(runs)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    cut = len(runs) // 3
    assert merged(map(Totals.of, shuffled[:cut])) + merged(map(Totals.of, shuffled[cut:])) == whole
    assert whole.sums.runs == len(runs)
    assert Totals.from_json(whole.to_json()) == whole


@settings(deadline=None)
@given(st.lists(st.integers(0, 7 * 86_400_000), min_size=1), st.sampled_from((0.0, 0.5, 0.95, 0.99, 1.0)))
def test_percentiles_are_within_the_accuracy(durations: list[int], share: float) -> None:
    totals = merged(Totals.of(Run(failed=False, duration_ms=duration)) for duration in durations)
    exact = sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]
    estimate = totals.percentile(share)
    assert estimate is not None
    assert abs(estimate - exact) <= exact * ACCURACY * 1.001 + (exact == 0)


@settings(deadline=None)
@given(st.integers(2, 10**12))
def test_a_bucket_holds_what_its_bounds_say(milliseconds: int) -> None:
    index = bucket(milliseconds)
    assert GAMMA ** (index - 1) * (1 - 1e-9) < milliseconds <= GAMMA**index * (1 + 1e-9)


def test_cost_is_exact() -> None:
    """Ten times a tenth is one, which it is not in floats."""
    totals = merged(Totals.of(Run(failed=False, cost_usd=0.1)) for _ in range(10))
    assert totals.sums.cost_usd == 1.0


def test_nothing_has_no_percentile_and_no_error() -> None:
    assert Totals().percentile(0.5) is None
    assert Totals().error_rate == 0.0
