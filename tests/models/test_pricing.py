"""Prices come from the installed list, and a model that is not on it is named once."""

from __future__ import annotations

import pytest
import structlog

from headrace.messages.run import Usage
from headrace.models import pricing
from headrace.models.pricing import Price, price

USED = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


@pytest.mark.parametrize(
    ("provider", "models", "usd"),
    [
        ("anthropic", ("claude-sonnet-5-5",), 12.0),
        ("openai", ("gpt-4o-mini",), 0.75),
        ("openai", ("not-on-the-list", "gpt-4o-mini"), 0.75),
    ],
)
def test_known(provider: str, models: tuple[str, ...], usd: float) -> None:
    assert price(provider, models, USED) == Price(usd, known=True)


def test_default_models_are_on_the_list() -> None:
    from headrace.models.settings import ModelSettings

    settings = ModelSettings(_env_file=None)
    assert price("anthropic", (settings.anthropic_model,), USED).known
    assert price("openai", (settings.openai_model,), USED).known


def test_cached_input_is_cheaper() -> None:
    cached = USED.replace(cache_read_tokens=900_000)
    assert 0 < price("openai", ("gpt-4o-mini",), cached).usd < 0.75


def test_a_provider_is_charged_its_own_prices_only() -> None:
    """A server behind OPENAI_BASE_URL may serve what somebody else lists."""
    assert price("openai", ("claude-sonnet-5-5",), USED) == Price(0.0, known=False)


def test_unknown_is_free_and_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_unknown", set())
    with structlog.testing.capture_logs() as logs:
        assert [price("openai", ("house-7b", "house"), USED) for _ in range(3)] == [Price(0.0, known=False)] * 3
    assert [(entry["event"], entry["model"]) for entry in logs] == [("model_price_not_found", "house-7b")]


def test_impossible_counts_cost_nothing() -> None:
    """More cached than there is input: the list refuses to price that."""
    strange = Usage(input_tokens=1, cache_read_tokens=500)
    assert price("anthropic", ("claude-haiku-5-5",), strange).usd >= 0
