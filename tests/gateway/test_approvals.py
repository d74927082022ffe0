"""``/v1/approvals`` over stand-ins: what can be decided, by whom, and what the record of it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import pytest

from headrace.auth import Role
from headrace.auth.store import AuthStore
from headrace.control.approvals import Question
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.wait import WaitCompletion
from tests.auth.credentials import Issuer
from tests.gateway.support import Gateway, error_of
from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "pool"]

HASH = "a" * 64
WHEN = datetime(2026, 1, 2, tzinfo=UTC)
QUESTION = Question(
    id="6f1d8f2c-53b5-5d0e-9a35-6865616472ce",
    run_id="run-1",
    agent="payer",
    kind="approval",
    tool="pay",
    arguments_hash=HASH,
    state="pending",
    asked_at=WHEN,
    deadline=WHEN,
    decided_at=None,
    decided_by=None,
    reason=None,
    step=2,
    round=1,
    call_id="call_2_1",
    arguments={"amount": 12},
)
PATH = f"/v1/approvals/{QUESTION.id}"
APPROVE = {"verdict": "approve", "arguments_hash": HASH}


def make(question: Question = QUESTION, **options: Any) -> Gateway:
    gateway = Gateway(**options)
    gateway.approvals.rows[question.id] = question
    gateway.publisher.then = lambda: gateway.approvals.settle(gateway.publisher.sends[-1].message)
    return gateway


async def decide(gateway: Gateway, body: Any, **headers: str) -> Any:
    return await gateway.post(f"{PATH}/decision", orjson.dumps(body), {"content-type": "application/json"} | headers)


async def test_what_is_listed_and_shown() -> None:
    gateway = make()
    (listed,) = (await gateway.get("/v1/approvals", params={"state": "pending"})).json()["approvals"]
    shown = (await gateway.get(PATH)).json()
    assert shown == listed | {"arguments": {"amount": 12}}
    assert (shown["tool"], shown["arguments_hash"], shown["state"]) == ("pay", HASH, "pending")
    assert (await gateway.get("/v1/approvals", params={"state": "denied"})).json() == {"approvals": [], "cursor": None}
    assert (await gateway.get("/v1/approvals/6f1d")).status_code == 404


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (APPROVE, "approved"),
        (APPROVE | {"arguments": {"amount": 1}}, "approved"),
        (APPROVE | {"verdict": "deny", "reason": "no"}, "denied"),
    ],
)
async def test_a_decision_is_a_record(body: dict[str, Any], state: str) -> None:
    gateway = make()
    answer = await decide(gateway, body)
    assert (answer.status_code, answer.json()["state"]) == (200, state), answer.text
    (send,) = gateway.publisher.sends
    said = send.message
    assert isinstance(said, WaitCompletion)
    assert (said.tenant, said.run_id, said.step, said.round, said.call_id) == ("acme", "run-1", 2, 1, "call_2_1")
    assert said.decision is not None
    assert (said.cause, said.decision.verdict, said.decision.by) == ("decision", body["verdict"], "unauthenticated")
    assert (said.decision.arguments, said.decision.reason) == (body.get("arguments"), body.get("reason"))


async def test_who_decided_is_what_the_credential_says(pool: asyncpg.Pool) -> None:
    issuer = Issuer(AuthStore(pool))
    gateway = make(authenticator=issuer.authenticator)
    for role, status in ((Role.VIEWER, 403), (Role.DEVELOPER, 403), (Role.ADMIN, 200)):
        key = await issuer.key(role)
        answer = await decide(gateway, APPROVE, authorization=f"Bearer {key}")
        assert answer.status_code == status, answer.text
    (send,) = gateway.publisher.sends
    assert isinstance(send.message, WaitCompletion)
    assert send.message.decision is not None
    assert send.message.decision.by == (await issuer.authenticator.principal(key)).id
    assert key not in str(send.message)


@pytest.mark.parametrize(
    ("question", "body", "status", "code"),
    [
        (QUESTION, APPROVE | {"arguments_hash": "b" * 64}, 409, "arguments_changed"),
        (replace(QUESTION, state="denied"), APPROVE, 409, "already_decided"),
        (replace(QUESTION, state="due"), APPROVE, 409, "already_decided"),
        (QUESTION, {"verdict": "approve"}, 422, "request_schema"),
        (QUESTION, APPROVE | {"arguments_hash": "b"}, 422, "request_schema"),
        (QUESTION, APPROVE | {"verdict": "perhaps"}, 422, "request_schema"),
        (QUESTION, APPROVE | {"by": "somebody"}, 422, "request_schema"),
        (QUESTION, APPROVE | {"verdict": "deny", "arguments": {}}, 422, "request_schema"),
        (replace(QUESTION, id="another"), APPROVE, 404, "unknown_approval"),
    ],
)
async def test_what_can_t_be_decided(question: Question, body: Any, status: int, code: str) -> None:
    gateway = make(question)
    answer = await decide(gateway, body)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert gateway.publisher.sends == []


async def test_edited_arguments_that_no_call_could_be_made_with_cost_no_approval() -> None:
    gateway = make(replace(QUESTION, tool="execute_pipeline"))
    step = {"step": "top_k", "k": 0}
    for arguments, where in (
        ({"amount": 1}, "/arguments"),
        ({"session_id": "s", "pipeline": [step]}, "/arguments/pipeline/0/k"),
    ):
        answer = await decide(gateway, APPROVE | {"arguments": arguments})
        assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_arguments")
        assert error_of(answer)["where"] == where
    assert gateway.publisher.sends == []
    edited = {"session_id": "s", "pipeline": [{"step": "top_k", "k": 1}]}
    assert (await decide(gateway, APPROVE | {"arguments": edited})).status_code == 200


async def test_of_two_who_decide_at_once_the_second_is_told() -> None:
    gateway = make()
    gateway.publisher.then = lambda: gateway.approvals.rows.update(
        {QUESTION.id: replace(QUESTION, state="denied", decided_by="key-2")}
    )
    answer = await decide(gateway, APPROVE)
    assert (answer.status_code, error_of(answer)["code"]) == (409, "already_decided")


async def test_it_is_durable_before_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.gateway.approvals._PATIENCE_S", 0.1)
    gateway = make()
    gateway.publisher.then = lambda: None
    answer = await decide(gateway, APPROVE)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending"), "orchestration is late"
    gateway.publisher.fail = DependencyUnavailable("Kafka is away")
    assert (await decide(gateway, APPROVE)).status_code == 503
