"""Accounts beside their budgets, as the API and the command line show them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headrace.budgets.postgres import AccountUse
from headrace.messages.budget import Budget
from headrace.messages.totals import NANO


def report(budgets: Iterable[Budget], uses: Sequence[AccountUse]) -> list[dict[str, Any]]:
    """A row for each account; amounts in tokens and US dollars, ``used_ratio`` of the unit that is nearer to its limit."""
    by_name = {budget.name: budget for budget in budgets}
    return [_row(by_name[use.account.budget], use) for use in uses if use.account.budget in by_name]


def _row(budget: Budget, use: AccountUse) -> dict[str, Any]:
    spent_usd = use.spent.nano / NANO
    shares = [
        spent / limit
        for spent, limit in ((use.spent.tokens, budget.tokens), (spent_usd, budget.usd))
        if limit is not None
    ]
    return {
        "budget": budget.name,
        "scope": budget.scope,
        "subject": use.account.subject,
        "period": use.account.period,
        "limit_tokens": budget.tokens,
        "limit_usd": budget.usd,
        "spent_tokens": use.spent.tokens,
        "spent_usd": spent_usd,
        "held_tokens": use.held.tokens,
        "held_usd": use.held.nano / NANO,
        "used_ratio": max(shares, default=0.0),
    }
