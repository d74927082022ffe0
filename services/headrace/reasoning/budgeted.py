"""Budgets as a reasoner sees them: whose a model call is, what it is likely to use, and what it used. Pure, but for the price
list.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, Protocol

import orjson

from headrace.budgets.rules import Amount, Spender
from headrace.budgets.spending import Reservation
from headrace.messages.run import Entry, RunInfo, Usage
from headrace.messages.totals import NANO
from headrace.models import ModelRequest, pricing

_CHARACTERS: Final = 4  # of a token, roughly: providers' counts are known only after a call
_PRICES: Final = "genai_prices"
_NOTHING: Final = Reservation()


class Budgets(Protocol):
    """``budgets.spending.Spending``, or ``NoBudgets``."""

    async def reserve(self, spender: Spender, used: Amount, estimate: Callable[[], Amount]) -> Reservation:
        """Raises ``BudgetExhausted`` and ``DependencyUnavailable``."""
        ...

    def settle(self, reservation: Reservation, run_id: str, number: int, amount: Amount) -> None: ...

    def cancel(self, reservation: Reservation) -> None: ...


class NoBudgets:
    """There are none."""

    async def reserve(self, spender: Spender, used: Amount, estimate: Callable[[], Amount]) -> Reservation:
        return _NOTHING

    def settle(self, reservation: Reservation, run_id: str, number: int, amount: Amount) -> None:
        pass

    def cancel(self, reservation: Reservation) -> None:
        pass


def spender_of(run: RunInfo) -> Spender:
    return Spender(run.tenant, run.agent.name, run.session_id, run.started_ms)


def amount_of(usage: Usage) -> Amount:
    return Amount(usage.total_tokens, round(usage.cost_usd * NANO))


def estimate(spec: str, request: ModelRequest) -> Amount:
    """What a call is likely to use at most: its text as input, and all the output that it may give.

    The price list takes most of a second to load, and comes with the first model client: without it only tokens are estimated.
    """
    text = len(request.system) + sum(map(_length, request.entries))
    text += sum(len(tool.description) + len(orjson.dumps(tool.parameters)) for tool in request.tools)
    usage = Usage(input_tokens=text // _CHARACTERS, output_tokens=request.max_output_tokens)
    provider, _, name = spec.partition(":")
    priced = name and _PRICES in sys.modules
    usd = pricing.price(provider, (name,), usage).usd if priced else 0.0
    return Amount(usage.total_tokens, round(usd * NANO))


def _length(entry: Entry) -> int:
    return len(entry.content or "") + sum(len(orjson.dumps(call.arguments)) for call in entry.tool_calls)
