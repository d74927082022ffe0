"""What the records of runs say, over the API: how it refuses. ``tests/flow/test_waits.py`` has the answers, from real records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headrace.gateway.app import create_app
from headrace.history.chain import BrokenChain
from headrace.history.comparison import Compared
from headrace.history.horizon import Range
from headrace.messages.errors import DependencyUnavailable
from tests.gateway.support import Gateway


class Failing:
    """Every question ends in ``error``."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def compare(self, left: str, right: str) -> Compared:
        raise self.error

    async def horizon(self, agent: str | None, within: Range | None) -> dict[str, Any]:
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


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("until=7d", "until"),
        ("since=7d&until=8d", "until"),
        ("since=2026-11-02&until=2026-11-01", "until"),
        ("since=soon", "since"),
    ],
)
async def test_a_range_that_is_none_is_refused(query: str, where: str) -> None:
    gateway = Gateway()
    gateway.app = create_app(replace(gateway.deps, history=Failing(AssertionError("it was asked all the same"))))
    response = await gateway.get(f"/v1/horizon?{query}")
    assert (response.status_code, response.json()["error"]["where"]) == (400, where), response.text
