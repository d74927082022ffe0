"""Model calls are forbidden in tests by default: no keys, and base URLs where nobody listens.

``from tests.support.no_models import no_models`` in a conftest is enough: the fixture is autouse. Tests of models build
their settings explicitly (``tests.support.simulator``).
"""

from __future__ import annotations

import pytest

_NOBODY = "http://127.0.0.1:9"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty rather than deleted, so that a ``.env`` file does not bring a key back."""
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "HEADRACE_MODEL"):
        monkeypatch.setenv(name, "")
    for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CUSTOM_HEADERS", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", _NOBODY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{_NOBODY}/v1")
