"""The retry policy alone, under virtual time and over many settings."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models import ModelError
from headrace.models.failures import clean, from_status, retry_after
from headrace.models.retry import KINDS, AttemptFailed, RetryPolicy
from tests.models.conftest import VirtualTime

NOW = 1_800_000_000.0


async def outcome_of(run: Awaitable[tuple[str, int]]) -> tuple[str, int] | ModelError:
    try:
        return await run
    except ModelError as error:
        return error


@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=8),
    asked=st.one_of(st.none(), st.floats(0, 50)),
    took=st.floats(0, 30),
    budget=st.floats(0.01, 60),
    attempts=st.integers(1, 6),
    luck=st.floats(0, 1, exclude_max=True),
)
async def test_bounds_hold(
    kinds: list[str], asked: float | None, took: float, budget: float, attempts: int, luck: float
) -> None:
    """Never more attempts than allowed, never a wait that ends past the budget, Retry-After always waited out."""
    time = VirtualTime()
    start, left, seen = time.now, iter(kinds), []
    policy = RetryPolicy(attempts=attempts, clock=time.clock, sleep=time.sleep, random=lambda: luck)

    async def attempt(remaining: float) -> str:
        seen.append(remaining)
        assert remaining > 0
        assert remaining == pytest.approx(budget - (time.now - start))
        time.now += min(took, remaining)
        kind = next(left, None)
        if kind is None:
            return "done"
        raise AttemptFailed("no", kind, retry_after=asked)

    outcome = await outcome_of(policy.run(attempt, budget))
    if isinstance(outcome, ModelError):
        assert outcome.attempts == len(seen)
        assert outcome.retryable == (KINDS[outcome.kind] > 1)
        assert outcome.kind == kinds[len(seen) - 1]
    else:
        assert outcome == ("done", len(seen))
    assert len(seen) <= attempts
    assert all(KINDS[kind] > 1 for kind in kinds[: len(seen) - 1])
    assert all(wait >= (asked or 0) for wait in time.slept)
    assert time.now - start <= budget * 1.000001


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "4"}, 4),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 99 Jan 2027 08:00:30 GMT"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_jitter_spreads_waits() -> None:
    early, late = (RetryPolicy(random=lambda luck=luck: luck) for luck in (0.0, 0.999))  # type: ignore[misc]
    assert early.delay(1, None) < late.delay(1, None)
    assert 5 == early.delay(1, 5.0) < late.delay(1, 5.0) < 5.5
    assert late.delay(10, None) <= late.cap_s


def test_messages_are_cut_and_cleaned() -> None:
    assert clean("your key hunter2\nand sk-abcdefghijkl are wrong", "hunter2") == (
        "your key [redacted] and [redacted] are wrong"
    )
    assert len(clean("x" * 10_000, "")) == 300


@pytest.mark.parametrize("body", [None, [], "text", {"error": None}, {"error": "boom"}, {"error": {"message": 7}}])
def test_any_error_body_is_read(body: object) -> None:
    failed = from_status(500, {}, body, secret="")
    assert (failed.kind, failed.status) == ("server_error", 500)


def test_overloaded_by_type() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    assert from_status(500, {}, body, secret="").kind == "overloaded"
