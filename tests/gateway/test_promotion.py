"""``:promote`` and ``:rollback`` as HTTP tells them, and whose input schema a request meets while there is a canary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from headrace.gateway.app import create_app
from headrace.messages.agent import AgentRecord, Canary
from headrace.registry.canary import gets
from headrace.registry.catalog import Catalog, catalog_of
from tests.gateway.support import REVIEWER, Gateway, MemoryPromotion, error_of

JSON = {"content-type": "application/json"}
NAME = REVIEWER.name
LAX = REVIEWER.replace(version="2.0.0", input_schema={})
PROMOTE = f"/v1/agents/{NAME}:promote"


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.deps = replace(made.deps, promotion=MemoryPromotion(AgentRecord(name=NAME, live_version="1.2.0")))
    made.app = create_app(made.deps)
    return made


async def post(gateway: Gateway, path: str, body: Any) -> Any:
    return await gateway.post(path, orjson.dumps(body), JSON)


async def test_a_change_is_answered_with_what_is_there_now(gateway: Gateway) -> None:
    body = {"version": "2.0.0", "canary_percent": 5, "reason": "try", "base_revision": 0}
    answer = (await post(gateway, PROMOTE, body)).json()
    assert (answer["name"], answer["revision"], answer["live_version"]) == (NAME, 1, "1.2.0")
    assert (answer["canary"], answer["reason"]) == ({"version": "2.0.0", "percent": 5.0}, "try")
    assert (await post(gateway, PROMOTE, {"version": "2.0.0"})).json()["live_version"] == "2.0.0"
    back = (await post(gateway, f"/v1/agents/{NAME}:rollback", {})).json()
    assert (back["live_version"], back["replaced"], back["before"]) == ("1.2.0", "2.0.0", [])


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("/v1/agents/nobody:promote", {"version": "2.0.0"}, 404, "name"),
        (PROMOTE, {"version": "2.0.0", "base_revision": 7}, 409, "/base_revision"),
        (PROMOTE, {"version": "1.2.0", "canary_percent": 5}, 409, None),
        (f"/v1/agents/{NAME}:rollback", {}, 409, None),
        (PROMOTE, {"version": "two"}, 422, "/version"),
        (PROMOTE, {"version": "2.0.0", "canary_percent": 0}, 422, "/canary_percent"),
        (PROMOTE, {"version": "2.0.0", "by": "me"}, 422, "/by"),
    ],
)
async def test_what_can_t_be_done_is_said(
    gateway: Gateway, path: str, body: Any, status: int, where: str | None
) -> None:
    answer = await post(gateway, path, body)
    assert (answer.status_code, error_of(answer).get("where")) == (status, where)


async def test_without_kafka_it_is_503(gateway: Gateway) -> None:
    gateway.deps.promotion.away = True  # type: ignore[union-attr]
    answer = await post(gateway, PROMOTE, {"version": "2.0.0"})
    assert answer.status_code == 503
    assert "planted" not in answer.text
    assert (await post(Gateway(), PROMOTE, {"version": "2.0.0"})).status_code == 503


async def test_a_request_meets_the_input_schema_of_the_version_that_it_gets(gateway: Gateway) -> None:
    catalog: Catalog = catalog_of([LAX, REVIEWER])
    catalog.apply(NAME, AgentRecord(name=NAME, live_version="1.2.0", canary=Canary(version="2.0.0", percent=50)))
    gateway.deps = replace(gateway.deps, catalog=catalog)
    gateway.app = create_app(gateway.deps)
    for session in map(str, range(8)):
        body = {"agent": NAME, "input": {"no": "title"}, "session_id": session}
        answer = await post(gateway, "/v1/runs", body)
        assert answer.status_code == (202 if gets(NAME, "2.0.0", 50, session) else 422)
    shown = (await gateway.get(f"/v1/agents/{NAME}")).json()
    assert (shown["version"], shown["live"]["canary"]["version"]) == ("1.2.0", "2.0.0")
    [listed] = (await gateway.get("/v1/agents")).json()["agents"]
    assert (listed["canary"], listed["revision"]) == ({"version": "2.0.0", "percent": 50.0}, 0)
