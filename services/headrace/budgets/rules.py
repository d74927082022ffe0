"""Which accounts a run draws on, and when their windows open anew. Pure; the migration says the same in SQL, and a test holds them
together.

A run counts, whole, in the window in which it began (the timestamp of its job record): so what a record counts for never depends on
when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from headrace.messages.budget import Budget, Window
from headrace.messages.totals import NANO

UNLIMITED: Final = 2**60  # in each unit; sums of a few still fit a bigint


class Amount(NamedTuple):
    """Tokens, and billionths of a US dollar."""

    tokens: int = 0
    nano: int = 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.nano + other.nano)

    def minus(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.nano - other.nano)

    def at_most(self, other: Amount) -> Amount:
        return Amount(min(self.tokens, other.tokens), min(self.nano, other.nano))

    def at_least(self, other: Amount) -> Amount:
        return Amount(max(self.tokens, other.tokens), max(self.nano, other.nano))

    def covers(self, other: Amount) -> bool:
        return self.tokens >= other.tokens and self.nano >= other.nano


ZERO: Final = Amount()


class Spender(NamedTuple):
    """A run, as far as budgets look at it. ``began_ms``: epoch milliseconds of its job record."""

    tenant: str
    agent: str
    session_id: str | None
    began_ms: int


class Account(NamedTuple):
    """Where spending is added up: a budget, whose (``""`` of a tenant), and in which window of time."""

    tenant: str
    budget: str
    subject: str
    period: str


def problems(budget: Budget) -> list[str]:
    """What is wrong with ``budget`` beyond its types; empty if it may be set."""
    found = []
    if budget.tokens is None and budget.usd is None:
        found.append("a budget needs tokens, usd, or both")
    if budget.scope == "run" and budget.window != "total":
        found.append("a run is in one window only: leave window out")
    if budget.scope == "tenant" and budget.agent is not None:
        found.append("a tenant's budget is for all agents: for one of them, use the scope agent")
    return found


def limit_of(budget: Budget) -> Amount:
    """``UNLIMITED`` in a unit that the budget does not speak of."""
    tokens = UNLIMITED if budget.tokens is None else budget.tokens
    return Amount(tokens, UNLIMITED if budget.usd is None else round(budget.usd * NANO))


def accounts_of(budgets: Iterable[Budget], spender: Spender) -> list[tuple[Budget, Account]]:
    """The accounts that the run's model calls draw on. Budgets of the scope ``run`` have none: a run carries what it has used."""
    found = []
    for budget in budgets:
        subject = _subject(budget, spender)
        if subject is not None and budget.scope != "run":
            period = period_of(budget.window, spender.began_ms)
            found.append((budget, Account(spender.tenant, budget.name, subject, period)))
    return found


def concerns(budget: Budget, spender: Spender) -> bool:
    """Whether the run's model calls count for ``budget``."""
    return _subject(budget, spender) is not None


def _subject(budget: Budget, spender: Spender) -> str | None:
    if budget.agent is not None and budget.agent != spender.agent:
        return None
    subjects = {"tenant": "", "agent": spender.agent, "session": spender.session_id, "run": ""}
    return subjects[budget.scope]


def period_of(window: Window, at_ms: int) -> str:
    """``2026-11-26``, ``2026-11`` or ``total``."""
    at = _time(at_ms)
    return {"day": f"{at:%Y-%m-%d}", "month": f"{at:%Y-%m}", "total": "total"}[window]


def opens_again(window: Window, at_ms: int) -> datetime | None:
    """When the window after the one of ``at_ms`` begins; None if there is none."""
    day = _time(at_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) if window == "month" else None


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(max(0, at_ms) / 1000, UTC)
