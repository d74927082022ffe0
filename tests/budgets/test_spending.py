"""Reserving and settling in one process over a bank in memory: what is asked, what is refused, what is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.budgets.follow import FollowedBudgets
from headrace.budgets.lease import granted, still_held
from headrace.budgets.rules import ZERO, Account, Amount, Spender
from headrace.budgets.spending import Asked, BudgetExhausted, Renewed, Spending
from headrace.messages.budget import Budget
from headrace.messages.errors import DependencyUnavailable

MAY = 1_778_000_000_000  # 2026-05-05
RUN = Spender("t", "reviewer", "s-1", MAY)


class MemoryBank:
    """One account holder; ``filed`` and ``spent`` are what the test says."""

    def __init__(self) -> None:
        self.asked: list[list[Asked]] = []
        self.spent: dict[Account, Amount] = {}
        self.filed: dict[str, int] = {}
        self.away = False

    async def renew(self, asked: Sequence[Asked], lease_s: float) -> list[Renewed]:
        if self.away:
            raise DependencyUnavailable("planted")
        self.asked.append(list(asked))
        await asyncio.sleep(0)
        renewed = []
        for one in asked:
            spent, held = self.spent.get(one.account, ZERO), still_held(one.held, one.turns, self.filed)
            renewed.append(Renewed(granted(one.limit, spent, ZERO, held, one.wanted), spent, self.filed))
        return renewed


class Bench:
    def __init__(self, *budgets: Budget) -> None:
        self.bank, self.rules, self.seconds = MemoryBank(), FollowedBudgets(), 0.0
        self.rules.put({"t": budgets})
        self.spending = Spending(
            self.rules, self.bank, now_ms=lambda: MAY, timer=lambda: self.seconds, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)

    async def call(self, tokens: int = 10, use: int | None = None, **changes: Any) -> None:
        reservation = await self.spending.reserve(RUN._replace(**changes), ZERO, lambda: Amount(tokens, 0))
        self.spending.settle(reservation, "run", 1, Amount(tokens if use is None else use))


def budget(**changes: Any) -> Budget:
    return Budget(**{"name": "b", "scope": "tenant", "window": "month", "tokens": 1_000, **changes})


async def test_without_a_budget_nobody_is_asked() -> None:
    bench = Bench()
    await bench.call()
    other = Bench(budget(scope="agent", agent="somebody-else"), budget(name="s", scope="session"))
    await other.call(session_id=None)
    assert bench.bank.asked == other.bank.asked == []


async def test_one_question_serves_many_calls_and_many_runs_at_once() -> None:
    bench = Bench(budget(tokens=10_000), budget(name="s", scope="session", tokens=10_000))
    await asyncio.gather(*(bench.call() for _ in range(20)))
    assert sum(len(asked) for asked in bench.bank.asked) <= 6
    for _ in range(10):
        await bench.call()
    assert sum(len(asked) for asked in bench.bank.asked) <= 8


async def test_an_exhausted_budget_says_when_it_opens_again() -> None:
    bench = Bench(budget())
    bench.bank.spent[Account("t", "b", "", "2026-05")] = Amount(1_000, 0)
    with pytest.raises(BudgetExhausted) as refused:
        await bench.call()
    error = refused.value.error
    assert (error.type, error.retryable, error.retry_at) == ("budget_exhausted", True, "2026-06-01T00:00:00Z")
    with pytest.raises(BudgetExhausted):
        await bench.call()
    assert len(bench.bank.asked) == 1, "asked again after a second, not at each call"
    bench.seconds += 1.5
    bench.bank.spent.clear()
    await bench.call()


async def test_what_calls_under_way_hold_is_there_again_soon() -> None:
    bench = Bench(budget(window="total", tokens=10))
    held = await bench.spending.reserve(RUN, ZERO, lambda: Amount(50, 0))
    with pytest.raises(BudgetExhausted) as refused:
        await bench.call()
    assert refused.value.error.retryable
    assert "held by calls under way" in refused.value.error.message
    bench.spending.settle(held, "run", 1, Amount(10, 0))
    bench.seconds += 2
    with pytest.raises(BudgetExhausted) as refused:
        await bench.call()
    assert not refused.value.error.retryable, "a total never opens again"


async def test_a_refusal_leaves_nothing_reserved() -> None:
    bench = Bench(budget(), budget(name="s", scope="session", window="total", tokens=1_000))
    bench.bank.spent[Account("t", "s", "s-1", "total")] = Amount(1_000, 0)
    with pytest.raises(BudgetExhausted, match="budget s is exhausted"):
        await bench.call()
    await bench.spending.keep()
    assert [one.held for one in bench.bank.asked[-1]] == [ZERO, ZERO]


async def test_a_run_s_own_budget_asks_nobody() -> None:
    bench = Bench(budget(scope="run", window="total", usd=0.5, tokens=None))
    estimate = lambda: Amount(10, 0)  # noqa: E731
    await bench.spending.reserve(RUN, Amount(10_000, 499_999_999), estimate)
    with pytest.raises(BudgetExhausted, match="the run has used its budget"):
        await bench.spending.reserve(RUN, Amount(0, 500_000_000), estimate)
    assert bench.bank.asked == []


async def test_an_expired_lease_is_not_drawn_on() -> None:
    bench = Bench(budget())
    await bench.call()
    bench.bank.away = True
    await bench.call()
    bench.seconds = 61
    with pytest.raises(DependencyUnavailable):
        await bench.call()


async def test_in_the_background_turns_are_filed_and_leases_given_back() -> None:
    bench = Bench(budget())
    await bench.call()
    bench.bank.filed = {"run": 1}
    bench.bank.spent = {Account("t", "b", "", "2026-05"): Amount(10, 0)}
    for _ in range(3):
        await bench.spending.keep()
    assert bench.bank.asked[-1][0].held == bench.bank.asked[-1][0].wanted == ZERO
    rounds = len(bench.bank.asked)
    await bench.spending.keep()
    assert len(bench.bank.asked) == rounds, "an account that is not used is not asked about"


async def test_budgets_that_were_never_read_let_nothing_through() -> None:
    bench = Bench()
    with pytest.raises(DependencyUnavailable):
        await Spending(FollowedBudgets(), bench.bank).reserve(RUN, ZERO, lambda: ZERO)


async def test_a_lower_limit_holds_for_the_next_call() -> None:
    bench = Bench(budget(tokens=1_000_000))
    await bench.call(use=500)
    bench.rules.put({"t": (budget(tokens=400),)})
    with pytest.raises(BudgetExhausted):
        await bench.call()
