"""Price tables: US dollars per million tokens, by model. From a file, or one model's from the price list of ``genai-prices``.

    openai:gpt-4o-mini: {input: 0.15, output: 0.6, cache_read: 0.075}
    anthropic:claude-haiku-5-5: {input: 1, output: 5, cache_read: 0.1, cache_write: 1.25}

A table is linear: where a provider's list is dearer past some length of the prompt, its lower price is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace.messages.errors import BadMessage
from headrace.messages.run import Usage
from headrace.models.pricing import price
from headrace.registry.yaml12 import Document, YamlProblem

_MILLION: Final = 1_000_000
_FEW: Final = 1_000  # tokens: in the lowest tier of any list
_Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]


class InvalidRates(BadMessage):
    """Not a price table, or a model that has no price; the text says where."""

    cause = "rates"


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Per million tokens. ``input`` is of what is neither read from a cache nor written to one; those cost as much unless said."""

    input: _Dollars
    output: _Dollars
    cache_read: _Dollars | None = None
    cache_write: _Dollars | None = None

    def cost(self, usage: Usage) -> float:
        """US dollars. ``usage.input_tokens`` counts all input, cached or not."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        parts = (
            (plain, self.input),
            (usage.cache_read_tokens, read),
            (usage.cache_write_tokens, write),
            (usage.output_tokens, self.output),
        )
        return sum(tokens * rate for tokens, rate in parts) / _MILLION


@dataclass(frozen=True, slots=True)
class PriceTable:
    """``name`` says where it is from. ``every``: one model's rates, for whatever was asked in its place."""

    name: str
    rates: Mapping[str, Rates]
    every: Rates | None = None

    def of(self, model: str) -> Rates | None:
        return self.every or self.rates.get(model)


def load_rates(file: Path) -> PriceTable:
    """Raises ``InvalidRates``, ``OSError``."""
    try:
        return PriceTable(str(file), _rates(Document(file.read_text(encoding="utf-8")).value))
    except YamlProblem as problem:
        where = f":{problem.line}" if problem.line else ""
        raise InvalidRates(f"{file}{where}: {problem}") from None
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidRates(f"{file}: {error}") from None


def table_of(model: str | None, prices: Any) -> PriceTable:
    """What a request names: all at the price of ``model``, or else a table as JSON. Raises ``InvalidRates``."""
    if model is not None:
        return rates_of(model)
    try:
        return PriceTable("prices", _rates(prices))
    except msgspec.ValidationError as error:
        raise InvalidRates(f"prices: {error}") from None


def rates_of(spec: str) -> PriceTable:
    """All at the price of one model, ``provider:name``. Raises ``InvalidRates`` where the list does not know it."""
    provider, _, name = spec.partition(":")
    if not name or not price(provider, (name,), Usage(input_tokens=_FEW)).known:
        raise InvalidRates(f"the price list knows no model {spec[:80]} (it is written provider:name)")

    def per_million(**tokens: int) -> float:
        return price(provider, (name,), Usage(**tokens)).usd * _MILLION / _FEW

    every = Rates(
        input=per_million(input_tokens=_FEW),
        output=per_million(output_tokens=_FEW),
        cache_read=per_million(input_tokens=_FEW, cache_read_tokens=_FEW),
        cache_write=per_million(input_tokens=_FEW, cache_write_tokens=_FEW),
    )
    return PriceTable(spec, {}, every)


def _rates(value: Any) -> dict[str, Rates]:
    return msgspec.convert(value, dict[str, Rates])
