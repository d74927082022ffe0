"""What the records of runs say, over the API: how it refuses. ``tests/flow/test_waits.py`` has the answers, from real records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headrace.gateway.app import create_app
from headrace.history.chain import BrokenChain
from headrace.history.comparison import Compared
from headrace.messages.errors import DependencyUnavailable
from tests.gateway.support import Gateway


class Failing:
    """Every question ends in ``error``."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def compare(self, left: str, right: str) -> Compared:
        raise self.error

    async def horizon(self, agent: str | None) -> dict[str, Any]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BrokenChain("run a: its records are gone"), 409, "broken_run"),
        (DependencyUnavailable("kafka is away"), 503, "unavailable"),
        (None, 503, "unavailable"),
    ],
)
async def test_what_can_not_be_compared_is_said(error: Exception | None, status: int, code: str) -> None:
    gateway = Gateway()
    gateway.app = create_app(replace(gateway.deps, history=Failing(error) if error else None))
    response = await gateway.get("/v1/runs/a/diff/b")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert "retry-after" in response.headers if status == 503 else "gone" in response.text
    if status == 503:
        assert (await gateway.get("/v1/horizon")).status_code == 503
