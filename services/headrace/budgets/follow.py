"""The budgets, kept in memory: read once a second, so that a run looks at no database where there are none."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from headrace.budgets.postgres import AccountUse, PostgresBudgets
from headrace.budgets.rules import UNLIMITED, limit_of
from headrace.messages.budget import Budget
from headrace.messages.errors import DependencyUnavailable
from headrace.observe.metrics import BUDGET_USED
from headrace.postgres.repeated import repeated

_EVERY_S: Final = 1.0
_MEASURED_EVERY: Final = 10  # rounds


class FollowedBudgets:
    """``spending.Rules``: the budgets as they were last read; also while the database is away."""

    def __init__(self) -> None:
        self._budgets: Mapping[str, Sequence[Budget]] | None = None

    def of(self, tenant: str) -> Sequence[Budget]:
        if self._budgets is None:
            raise DependencyUnavailable("the budgets are not read yet: is Postgres up?")
        return self._budgets.get(tenant, ())

    @property
    def known(self) -> bool:
        return self._budgets is not None

    @property
    def all(self) -> Mapping[str, Sequence[Budget]]:
        return self._budgets or {}

    def put(self, budgets: Mapping[str, Sequence[Budget]]) -> None:
        self._budgets = budgets


@asynccontextmanager
async def followed(store: PostgresBudgets, *, measure: bool = False) -> AsyncIterator[FollowedBudgets]:
    """Entered at once; with ``measure`` the gauge ``budget_used_ratio`` is kept up to date."""
    budgets = FollowedBudgets()
    rounds = itertools.count()

    async def read() -> None:
        number = next(rounds)
        budgets.put(await store.all())
        if measure and number % _MEASURED_EVERY == 0:
            await _measure(store, budgets.all)

    async with repeated(read, every_s=_EVERY_S, name="budget-rules", failed="budgets_not_read"):
        yield budgets


async def _measure(store: PostgresBudgets, budgets: Mapping[str, Sequence[Budget]]) -> None:
    """Accounts of tenants and agents, which are few; sessions are many, and `headrace budgets usage` shows them."""
    BUDGET_USED.clear()
    for tenant, some in budgets.items():
        for budget in some:
            if budget.scope in ("tenant", "agent"):
                for use in await store.usage(tenant, budget.name, datetime.now(UTC)):
                    _set(budget, use)


def _set(budget: Budget, use: AccountUse) -> None:
    for unit, spent, limit in zip(("tokens", "usd"), use.spent, limit_of(budget), strict=True):
        if limit < UNLIMITED:
            BUDGET_USED.labels(budget.name, use.account.subject, unit).set(spent / limit)
