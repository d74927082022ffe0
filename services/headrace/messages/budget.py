"""Budgets as data, and ``budget.changes``: the record of each change of one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, Message, Part, Version
from headrace.messages.job import DEFAULT_TENANT, Name

Scope = Literal["tenant", "agent", "session", "run"]
Window = Literal["day", "month", "total"]
BudgetName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class Budget(Part, frozen=True, kw_only=True):
    """What model calls may use: tokens, US dollars, or both, of one scope within one window of time.

    ``tenant`` is one account for all runs; ``agent``, ``session`` and ``run`` have an account for each of these, and the field
    ``agent`` says whose runs count.
    """

    name: BudgetName
    scope: Scope
    window: Annotated[Window, Meta(description="The day or month (UTC) in which a run began, or all time")] = "total"
    agent: Annotated[str | None, Meta(description="Only runs of this agent; null: of all")] = None
    tokens: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    usd: Annotated[float, Meta(gt=0, le=1e9, description="US dollars")] | None = None


class BudgetChange(Message, frozen=True, kw_only=True):
    """A budget was set or removed. Written before the change is made, so that there is none without its record."""

    TOPIC: ClassVar[str] = "budget.changes"
    TYPE: ClassVar[str] = "dev.headrace.budget.change"

    schema_version: Version = SCHEMA_VERSION
    tenant: Name = DEFAULT_TENANT
    name: BudgetName
    action: Literal["set", "removed"]
    budget: Annotated[Budget | None, Meta(description="As it was set; none of one that was removed")] = None
    changed_by: Annotated[str, Meta(max_length=256, description="Id of the credential, or cli:USER@HOST")]
    changed_at: Annotated[str, Meta(description="ISO 8601, UTC")]

    def message_id(self) -> str:
        return f"{self.tenant}:{self.name}:{self.changed_at}"

    def record_key(self) -> str:
        return f"{self.tenant}/{self.name}"

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant}
