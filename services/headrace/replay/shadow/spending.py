"""The model calls of a replay, with a cap on what they cost."""

from __future__ import annotations

from headrace.messages.errors import HeadraceError
from headrace.models import ModelReply, ModelRequest
from headrace.reasoning.execution import ModelPort


class BudgetSpent(HeadraceError):
    """The replay has spent what it may; no further model call is made."""


class Budgeted:
    """A ``ModelPort`` in front of another. ``spent_usd`` may be passed by the calls that are under way when it is reached."""

    def __init__(self, models: ModelPort, cap_usd: float, *, spent_usd: float = 0.0) -> None:
        self._models = models
        self._cap = cap_usd
        self.spent_usd = spent_usd

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        """Raises ``BudgetSpent`` instead of asking; else as the other port."""
        if self.spent_usd >= self._cap:
            raise BudgetSpent(f"the replay's budget of {self._cap:g} US dollars is spent")
        reply = await self._models.complete(spec, request)
        self.spent_usd += reply.usage.cost_usd
        return reply
