"""``/v1/budgets``, and 429 for a run that could not make a model call; the desk behind it on real Postgres."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from headrace.budgets.follow import FollowedBudgets
from headrace.budgets.postgres import PostgresBudgets
from headrace.gateway.budget_desk import BudgetDesk
from headrace.messages.budget import Budget, BudgetChange
from headrace.messages.errors import DependencyUnavailable
from headrace.persistence.writer import Writer
from tests.auth.credentials import Issuer
from tests.budgets.test_postgres import NOW as RUN_AT
from tests.budgets.test_postgres import all_agents, run
from tests.gateway.support import NOW, Gateway, RecordingPublisher, error_of
from tests.gateway.test_access import issuer
from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "issuer", "pool"]

JSON = {"content-type": "application/json"}
DOORS = [
    ("/v1/runs", {"agent": "pr-reviewer", "prompt": "Look", "session_id": "s-1"}),
    ("/agents/run", {"agent_type": "pr-reviewer", "user_id": "u", "input": {"title": "Fix"}}),
]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def put(gateway: Gateway, name: str, body: Any, **headers: str) -> Any:
    async with gateway.client() as client:
        return await client.put(f"/v1/budgets/{name}", content=orjson.dumps(body), headers=JSON | headers)


async def test_a_budget_is_set_listed_and_removed(gateway: Gateway) -> None:
    response = await put(gateway, "all", {"scope": "tenant", "window": "month", "usd": 20})
    assert response.status_code == 200
    assert response.json()["usd"] == 20
    listed = (await gateway.get("/v1/budgets")).json()["budgets"]
    assert listed == [response.json()]
    assert (await gateway.get("/v1/budgets/usage?budget=all")).json()["accounts"] == [{"budget": "all"}]
    async with gateway.client() as client:
        assert (await client.delete("/v1/budgets/all")).status_code == 204
        again = await client.delete("/v1/budgets/all")
    assert (again.status_code, error_of(again)["code"]) == (404, "unknown_budget")


@pytest.mark.parametrize(
    ("name", "body", "where"),
    [
        ("all", {"scope": "tenant"}, "/"),
        ("all", {"scope": "team", "usd": 1}, "/scope"),
        ("all", {"scope": "tenant", "usd": -1}, "/usd"),
        ("all", {"scope": "tenant", "dollars": 1}, "/dollars"),
        ("all", {"scope": "tenant", "usd": 1, "name": "other"}, "/name"),
        ("All", {"scope": "tenant", "usd": 1}, "/name"),
        ("all", [], "/"),
    ],
)
async def test_what_is_no_budget_is_422_with_its_place(gateway: Gateway, name: str, body: Any, where: str) -> None:
    response = await put(gateway, name, body)
    assert response.status_code == 422
    assert error_of(response)["where"] == where
    assert gateway.budgets.changes == []


@pytest.mark.parametrize(("path", "body"), DOORS)
async def test_an_exhausted_budget_is_429_and_says_when_to_come_again(gateway: Gateway, path: str, body: Any) -> None:
    gateway.budgets.empty = {"chat": NOW + timedelta(seconds=90)}
    response = await gateway.post(path, orjson.dumps(body), JSON)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "90"
    assert "budget chat is exhausted; it opens again at 2026-01-02T03:05:35Z" in response.text
    assert gateway.publisher.sends == []
    assert gateway.turns.taken == [], "no turn is taken for it"
    assert gateway.budgets.asked == [("pr-reviewer", body.get("session_id"))]
    gateway.budgets.empty = {"chat": None}
    assert (await gateway.post(path, orjson.dumps(body), JSON)).headers["retry-after"] == "3600"
    gateway.budgets.empty = {}
    assert (await gateway.post(path, orjson.dumps(body), JSON)).status_code == 202


async def test_a_refused_request_may_be_asked_again_with_its_key(gateway: Gateway) -> None:
    gateway.budgets.empty = {"chat": None}
    keyed = JSON | {"idempotency-key": "k-1"}
    assert (await gateway.post("/v1/runs", orjson.dumps(DOORS[0][1]), keyed)).status_code == 429
    gateway.budgets.empty = {}
    assert (await gateway.post("/v1/runs", orjson.dumps(DOORS[0][1]), keyed)).status_code == 202
    assert len(gateway.publisher.sends) == 1


async def test_the_change_names_its_credential(issuer: Issuer) -> None:
    gateway = Gateway(authenticator=issuer.authenticator)
    key = await issuer.key(role="admin")
    response = await put(gateway, "all", {"scope": "tenant", "usd": 1}, authorization=f"Bearer {key}")
    assert response.status_code == 200
    assert gateway.budgets.changes == [("all", key.split("_")[1])]


def desk(pool: asyncpg.Pool, publisher: Any, known: FollowedBudgets) -> BudgetDesk:
    return BudgetDesk(PostgresBudgets(pool), known, publisher, "t", now=lambda: RUN_AT)


async def test_the_desk_tells_what_is_exhausted_and_asks_nobody_where_nothing_is_set(pool: asyncpg.Pool) -> None:
    store, known = PostgresBudgets(pool), FollowedBudgets()
    one = desk(pool, RecordingPublisher(), known)
    assert await one.exhausted("reviewer", None) is None, "the budgets are not read yet: reasoning decides"
    await store.put("t", all_agents(tokens=100), "test")
    known.put(await store.all())
    assert await one.exhausted("reviewer", None) is None
    await Writer(pool).write([run("a", 1, 100)])
    name, opens = await one.exhausted("reviewer", None) or ("", None)
    assert name == "all"
    assert opens is not None
    assert opens > RUN_AT
    assert (opens.day, opens.hour) == (1, 0)
    known.put({})
    await pool.close()
    assert await one.exhausted("reviewer", None) is None


async def test_a_change_that_can_t_be_recorded_is_not_made(pool: asyncpg.Pool) -> None:
    publisher = RecordingPublisher()
    one = desk(pool, publisher, FollowedBudgets())
    await one.put(all_agents(), "key-1")
    [send] = publisher.sends
    assert isinstance(send.message, BudgetChange)
    assert (send.message.name, send.message.action, send.message.changed_by) == ("all", "set", "key-1")
    publisher.fail = DependencyUnavailable("planted")
    with pytest.raises(DependencyUnavailable):
        await one.put(Budget(name="other", scope="tenant", usd=1.0), "key-1")
    with pytest.raises(DependencyUnavailable):
        await one.remove("all", "key-1")
    assert [budget.name for budget in await one.all()] == ["all"]
