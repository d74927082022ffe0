"""GET /v1/usage: what is asked reaches the index, and what no index should see does not."""

from __future__ import annotations

import pytest

from tests.gateway.support import Gateway


async def test_a_question_is_passed_on() -> None:
    gateway = Gateway()
    async with gateway.client() as client:
        assert (await client.get("/v1/usage")).status_code == 200
        response = await client.get("/v1/usage", params={"agent": "a", "since": "7d", "window": "1h"})
    assert response.json()["usage"] == []
    assert gateway.usage.asked == [
        {"agent": None, "since": "24h", "window": None},
        {"agent": "a", "since": "7d", "window": "1h"},
    ]


@pytest.mark.parametrize("params", [{"agent": "a" * 200}, {"since": "x" * 50}, {"window": "1" * 9}])
async def test_what_is_too_long_is_refused(params: dict[str, str]) -> None:
    gateway = Gateway()
    async with gateway.client() as client:
        response = await client.get("/v1/usage", params=params)
    assert response.status_code in (400, 422)
    assert gateway.usage.asked == []
