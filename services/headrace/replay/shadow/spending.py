"""The model calls of a replay, with a cap on what they cost, whichever processes make them."""

from __future__ import annotations

from typing import Protocol

from headrace.messages.errors import DependencyUnavailable, HeadraceError, TransientError
from headrace.models import ModelReply, ModelRequest
from headrace.models.resolve import OFFLINE
from headrace.reasoning.execution import ModelPort


class BudgetSpent(HeadraceError):
    """The replay has spent what it may; no further model call is made."""


class Purse(Protocol):
    """What the replay has spent in all, in US dollars. Raises ``DependencyUnavailable``."""

    async def add(self, usd: float) -> float:
        """The sum then."""
        ...

    async def at_least(self, usd: float) -> float:
        """Records of the replay show that it has spent so much. The sum then."""
        ...


class Budgeted:
    """A ``ModelPort`` in front of another. The cap may be passed by the calls that are under way when it is reached.

    ``spent_usd`` is the sum as it was last seen.
    """

    def __init__(self, models: ModelPort, cap_usd: float, purse: Purse, *, spent_usd: float = 0.0) -> None:
        self._models = models
        self._cap = cap_usd
        self._purse = purse
        self._owed = 0.0  # paid, and not booked yet
        self.spent_usd = spent_usd

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        """Raises ``BudgetSpent`` instead of asking, ``DependencyUnavailable`` where nobody can tell; else as the other port."""
        if spec != OFFLINE:
            await self._book()
            if self.spent_usd >= self._cap:
                raise BudgetSpent(f"the replay's budget of {self._cap:g} US dollars is spent")
        reply = await self._models.complete(spec, request)
        if reply.usage.cost_usd:
            self._owed += reply.usage.cost_usd
            await self._book_soon()
        return reply

    async def _book(self) -> None:
        owed, self._owed = self._owed, 0.0
        try:
            self.spent_usd = await self._purse.add(owed)
        except BaseException:
            self._owed += owed
            raise

    async def _book_soon(self) -> None:
        """A reply that is paid for is not given up because it can't be booked now."""
        try:
            await self._book()
        except (DependencyUnavailable, TransientError):
            self.spent_usd += self._owed
