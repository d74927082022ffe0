"""What a call cost, from the usage that the provider reported, by the price list that ships with ``genai-prices``.

Nothing is fetched at run time: prices are those of the installed release. A model that the list does not know costs 0 and says so:
``Price.known`` is False, and the log names it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.messages.run import Usage
from headrace.observe.logging import get_logger

log = get_logger(__name__)
_MAX_NAMED: Final = 1_000
_unknown: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars, and whether the model was on the list."""

    usd: float
    known: bool


def price(provider: str, models: tuple[str, ...], usage: Usage) -> Price:
    """Price ``usage`` as the first of ``models`` (names for the same model, the most exact first) that is on the list.

    ``provider`` is ``anthropic`` or ``openai``. The first call imports the price list (0.8 s): do that off the event loop.
    """
    import genai_prices

    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    for model in models:
        try:
            return Price(float(genai_prices.calc_price(counted, model, provider_id=provider).total_price), known=True)
        except (LookupError, ValueError):  # not listed; or listed without a price for one of these counts
            continue
    _name_once(provider, models[0])
    return Price(0.0, known=False)


def _name_once(provider: str, model: str) -> None:
    if (provider, model) in _unknown or len(_unknown) >= _MAX_NAMED:
        return
    _unknown.add((provider, model))
    log.warning("model_price_not_found", provider=provider, model=model, counted_as_usd=0.0)


def preload() -> None:
    """Import the price list and build its index: slow, so that it is done once and in a thread."""
    price("openai", ("gpt-6-luna",), Usage())
