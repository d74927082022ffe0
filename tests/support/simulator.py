"""Fixtures of the model simulator. Take them in with ``from tests.support.simulator import simulator, model_settings``.

``simulator`` answers with its default (an instance of the schema in the prompt, or an echo) until a test calls ``play``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.models.settings import ModelSettings
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator

ANTHROPIC_KEY = "sk-ant-simulated-anthropic-key"
OPENAI_KEY = "sk-simulated-openai-key"


def script(*rules: dict[str, Any], latency_ms: float = 0) -> Script:
    """A script from rules as data: ``script({"match": {"turn": 0}, "reply": {"text": "hello"}})``."""
    return Script.model_validate({"rules": rules, "latency_ms": latency_ms})


def settings_for(simulator: Simulator, **changes: Any) -> ModelSettings:
    """Settings of the model port that point both providers at ``simulator``."""
    values: dict[str, Any] = {
        "anthropic_api_key": ANTHROPIC_KEY,
        "openai_api_key": OPENAI_KEY,
        "anthropic_base_url": simulator.anthropic_base_url,
        "openai_base_url": simulator.openai_base_url,
    }
    return ModelSettings(_env_file=None, **{**values, **changes})


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def model_settings(simulator: Simulator) -> ModelSettings:
    return settings_for(simulator)
