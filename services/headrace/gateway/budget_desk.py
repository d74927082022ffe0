"""``ports.Budgets`` over Postgres, the followed budgets, and the topic of their changes: the gateway's tenant filled in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from headrace.budgets.changes import Publisher, remove_budget, set_budget
from headrace.budgets.follow import FollowedBudgets
from headrace.budgets.postgres import PostgresBudgets
from headrace.budgets.report import report
from headrace.budgets.rules import Amount, Spender, accounts_of, limit_of, opens_again
from headrace.gateway.ports import JsonDict, utc_now
from headrace.messages.budget import Budget
from headrace.messages.errors import DependencyUnavailable

_LEAST = Amount(1, 1)


class BudgetDesk:
    def __init__(
        self,
        store: PostgresBudgets,
        known: FollowedBudgets,
        publisher: Publisher,
        tenant: str,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._known = known
        self._publisher = publisher
        self._tenant = tenant
        self._now = now

    async def exhausted(self, agent: str, session_id: str | None) -> tuple[str, datetime | None] | None:
        """Asks the database only where there is a budget that concerns the run."""
        if not self._known.known:
            return None
        now_ms = round(self._now().timestamp() * 1000)
        spender = Spender(self._tenant, agent, session_id, now_ms)
        drawn = accounts_of(self._known.of(self._tenant), spender)
        if not drawn:
            return None
        try:
            spent = await self._store.spent([account for _, account in drawn])
        except DependencyUnavailable:
            return None
        for budget, account in drawn:
            if account in spent and not limit_of(budget).covers(spent[account].plus(_LEAST)):
                return budget.name, opens_again(budget.window, now_ms)
        return None

    async def all(self) -> Sequence[Budget]:
        return (await self._store.all()).get(self._tenant, ())

    async def usage(self, name: str | None) -> list[JsonDict]:
        uses = await self._store.usage(self._tenant, name, datetime.now(UTC))
        return report(await self.all(), uses)

    async def put(self, budget: Budget, changed_by: str) -> None:
        await set_budget(self._publisher, self._store, self._tenant, budget, changed_by)

    async def remove(self, name: str, changed_by: str) -> bool:
        return await remove_budget(self._publisher, self._store, self._tenant, name, changed_by)
