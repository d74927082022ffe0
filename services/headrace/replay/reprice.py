"""History under another price table: recorded tokens at other prices. Asks no model. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from headrace.index.spent import Spent
from headrace.models.rates import InvalidRates, PriceTable


class Repriced(NamedTuple):
    """What some runs cost, and what they would have. US dollars."""

    agent: str
    model: str
    runs: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    repriced_usd: float

    @property
    def difference_usd(self) -> float:
        return self.repriced_usd - self.cost_usd

    @property
    def ratio(self) -> float | None:
        """Of the new price to the old one; None where it was free."""
        return self.repriced_usd / self.cost_usd if self.cost_usd else None

    def facts(self) -> dict[str, object]:
        return {**self._asdict(), "difference_usd": self.difference_usd, "ratio": self.ratio}


def reprice(spent: Sequence[Spent], table: PriceTable) -> list[Repriced]:
    """Each of ``spent`` at the prices of ``table``; what used no tokens costs nothing by any.

    Raises ``InvalidRates`` that names all models which the table lacks.
    """
    _check(spent, table)
    return [
        Repriced(
            one.agent,
            one.model,
            one.runs,
            one.usage.input_tokens,
            one.usage.output_tokens,
            one.usage.cost_usd,
            rates.cost(one.usage) if (rates := table.of(one.model)) else 0.0,
        )
        for one in spent
    ]


def total(rows: Sequence[Repriced]) -> Repriced:
    """All of ``rows`` together, with neither agent nor model."""
    return Repriced(
        "",
        "",
        sum(row.runs for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.output_tokens for row in rows),
        sum(row.cost_usd for row in rows),
        sum(row.repriced_usd for row in rows),
    )


def facts(rows: Sequence[Repriced], table: PriceTable, since: datetime, until: datetime) -> dict[str, object]:
    """The report, as JSON."""
    told = {"since": since, "until": until, "prices": table.name}
    return {**told, "rows": [row.facts() for row in rows], "total": total(rows).facts()}


def _check(spent: Sequence[Spent], table: PriceTable) -> None:
    missing: dict[str, int] = {}
    for one in spent:
        if one.usage.total_tokens and table.of(one.model) is None:
            missing[one.model] = missing.get(one.model, 0) + one.runs
    if missing:
        named = ", ".join(f"{model} ({runs:,} runs)" for model, runs in sorted(missing.items()))
        raise InvalidRates(f"{table.name} has no price for {named}")
