"""Changing budgets: the record of the change first, since what is not in the log can't be in the audit log; then the change
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from headrace.messages.budget import Budget, BudgetChange
from headrace.runtime.api import Send

_PUBLISH_S: Final = 30.0


class Publisher(Protocol):
    async def publish(self, sends: Sequence[Send], *, timeout_s: float) -> None: ...


class Store(Protocol):
    async def put(self, tenant: str, budget: Budget, changed_by: str) -> None: ...

    async def remove(self, tenant: str, name: str) -> bool: ...


async def set_budget(publisher: Publisher, store: Store, tenant: str, budget: Budget, changed_by: str) -> None:
    """Raises ``DependencyUnavailable``; then it may be repeated."""
    await _record(publisher, tenant, budget.name, budget, changed_by)
    await store.put(tenant, budget, changed_by)


async def remove_budget(publisher: Publisher, store: Store, tenant: str, name: str, changed_by: str) -> bool:
    """Whether there was such a budget. Raises ``DependencyUnavailable``; then it may be repeated."""
    await _record(publisher, tenant, name, None, changed_by)
    return await store.remove(tenant, name)


async def _record(publisher: Publisher, tenant: str, name: str, budget: Budget | None, changed_by: str) -> None:
    change = BudgetChange(
        tenant=tenant,
        name=name,
        action="removed" if budget is None else "set",
        budget=budget,
        changed_by=changed_by,
        changed_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    )
    await publisher.publish([Send(change)], timeout_s=_PUBLISH_S)
