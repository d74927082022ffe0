"""``/v1/waits`` over a real Postgres: the callback of a parked call, by a stranger with its token, settled by orchestration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from headrace.auth import Role, callbacks
from headrace.auth.authenticator import Authenticator
from headrace.auth.store import AuthStore
from headrace.blobs.memory import MemoryBlobs
from headrace.control.approvals import PostgresApprovals
from headrace.gateway.app import create_app
from headrace.gateway.callbacks import MAX_BODY
from headrace.messages.ids import pending_id
from headrace.messages.run import ToolResults
from headrace.messages.wait import WaitCompletion
from headrace.orchestration.waits.part import Waits
from headrace.orchestration.waits.store import PostgresWaits
from headrace.runtime.api import Send
from headrace.tools.api import Asked, CallParked
from headrace.tools.callbacks import TOKEN, URL, Desk
from headrace.tools.parking import parked, pending
from tests.auth.credentials import FOREIGN, SECRET, Issuer
from tests.gateway.support import Gateway, error_of
from tests.orchestration.records import at, said, wait
from tests.postgres.database import empty_pool, pool
from tests.tools.helpers import call, calls, definition

__all__ = ["empty_pool", "pool"]

WAIT = pending_id("t", "run-1", 1, 0, "call_1_1")
OTHER = pending_id("t", "run-1", 1, 0, "call_1_2")
CONTENT = {"exported": 12, "where": "s3://reports"}


class Orchestration:
    """A publisher whose completions are taken at once by the part that keeps waits; ``went_on`` are the runs that it sent on."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.part = Waits(PostgresWaits(pool), MemoryBlobs(), 1_024)
        self.taken: list[WaitCompletion] = []
        self.went_on: list[ToolResults] = []

    async def publish(self, sends: Sequence[Send], *, timeout_s: float) -> None:
        for send in sends:
            assert isinstance(send.message, WaitCompletion)
            self.taken.append(send.message)
            await self.settle(send.message)

    async def settle(self, completion: WaitCompletion) -> None:
        made = await self.part.handle(completion, at(len(self.taken)))
        self.went_on += [one.message for one in made if isinstance(one.message, ToolResults)]


@pytest.fixture
async def orchestration(pool: asyncpg.Pool) -> Orchestration:
    made = Orchestration(pool)
    await made.part.handle(wait("callback", "approval"), at(0, "run.waits"))
    return made


@pytest.fixture
def issuer(pool: asyncpg.Pool) -> Issuer:
    return Issuer(AuthStore(pool))


@pytest.fixture
def gateway(pool: asyncpg.Pool, orchestration: Orchestration, issuer: Issuer) -> Gateway:
    made = Gateway(authenticator=issuer.authenticator)
    made.deps = replace(made.deps, tenant="t", publisher=orchestration, approvals=PostgresApprovals(pool))
    made.app = create_app(made.deps)
    return made


async def report(gateway: Gateway, body: Any, credential: str, wait_id: str = WAIT) -> httpx2.Response:
    async with gateway.client() as client:
        headers = {"authorization": f"Bearer {credential}"}
        return await client.post(f"/v1/waits/{wait_id}/callback", json=body, headers=headers)


async def test_a_stranger_with_the_token_reports_once(
    gateway: Gateway, orchestration: Orchestration, issuer: Issuer
) -> None:
    key = await issuer.key(Role.DEVELOPER, tenant="t")
    asked = await gateway.get(f"/v1/waits/{WAIT}", headers={"authorization": f"Bearer {key}"})
    token = asked.json()["callback_token"]
    assert asked.json()["callback_url"] == f"/v1/waits/{WAIT}/callback"
    for _ in range(2):
        answer = await report(gateway, {"content": CONTENT}, token)
        assert (answer.status_code, answer.json()["state"]) == (200, "reported"), answer.text
    assert error_of(await report(gateway, {"content": {"exported": 13}}, token))["code"] == "already_settled"
    (completion,) = orchestration.taken
    assert completion.reported is not None
    assert (completion.cause, completion.reported.content) == ("reported", CONTENT)
    assert completion.reported.by == "callback-token"
    assert orchestration.went_on == [], "the approval is open"
    await orchestration.settle(said(2, "due"))
    (record,) = orchestration.went_on
    assert record.results[0].content == CONTENT
    shown = await gateway.get(f"/v1/waits/{WAIT}", headers={"authorization": f"Bearer {key}"})
    assert shown.json()["outcome"]["content"] == CONTENT
    assert "callback_token" not in shown.json()


async def test_a_service_is_called_and_reports(
    gateway: Gateway, orchestration: Orchestration, pool: asyncpg.Pool
) -> None:
    """From a call of a callback tool to the run that goes on with its outcome; also where the service is faster than its wait."""
    own = b"planted-secret-of-callbacks-0123456789"
    authenticator = Authenticator(AuthStore(pool), (SECRET,), callback_secrets=(own,))
    gateway.app = create_app(replace(gateway.deps, authenticator=authenticator))
    asked = Asked(calls(call("export")), definition(), call("export"))
    asked = asked._replace(message=asked.message.replace(run=asked.message.run.replace(tenant="t")))
    told = Desk("http://gateway", own).proof(asked).headers
    path, credential = told[URL].removeprefix("http://gateway"), told[TOKEN]
    wait_id = path.split("/")[3]
    early = await report(gateway, {"content": CONTENT}, credential, wait_id)
    assert (early.status_code, error_of(early)["code"]) == (503, "not_parked")
    assert early.headers["retry-after"] == "1"
    assert orchestration.taken == []
    waits = pending(asked.call, {}, CallParked("callback", 2**41))
    await orchestration.part.handle(parked(asked.message, [], [waits], 0), at(1, "run.waits"))
    answer = await report(gateway, {"content": CONTENT}, credential, wait_id)
    assert (answer.status_code, answer.json()["state"]) == (200, "reported"), answer.text
    (record,) = orchestration.went_on
    assert record.results[0].content == CONTENT
    older = callbacks.token(SECRET, "t", wait_id)
    assert (await report(gateway, {"content": CONTENT}, older, wait_id)).status_code == 200, (
        "the API's secret opens too"
    )


async def test_a_large_report_is_the_same_again(gateway: Gateway, orchestration: Orchestration) -> None:
    token, large = callbacks.token(SECRET, "t", WAIT), {"rows": ["x" * 40] * 200}
    assert [(await report(gateway, {"content": large}, token)).status_code for _ in range(2)] == [200, 200]
    assert (await report(gateway, {"content": {"rows": []}}, token)).status_code == 409
    assert (await report(gateway, {"content": None}, token)).status_code == 409
    assert len(orchestration.taken) == 1


async def test_a_credential_reports_an_error_and_is_named(
    gateway: Gateway, orchestration: Orchestration, issuer: Issuer
) -> None:
    key = await issuer.key(Role.DEVELOPER, tenant="t")
    error = {"type": "export_failed", "message": "no space", "retryable": True}
    assert (await report(gateway, {"error": error}, key)).json()["state"] == "reported"
    assert (await report(gateway, {"error": error}, key)).status_code == 200
    assert (await report(gateway, {"error": error | {"retryable": False}}, key)).status_code == 409
    (completion,) = orchestration.taken
    assert completion.reported is not None
    assert completion.reported.by == (await issuer.authenticator.principal(key)).id


async def test_nobody_else_opens_it(gateway: Gateway, orchestration: Orchestration, issuer: Issuer) -> None:
    viewer = await issuer.key(Role.VIEWER, tenant="t")
    token = callbacks.token(SECRET, "t", WAIT)
    tried = {
        (callbacks.token(SECRET, "t", OTHER), WAIT): 401,  # of another wait
        (callbacks.token(SECRET, "other", WAIT), WAIT): 401,
        (callbacks.token(FOREIGN, "t", WAIT), WAIT): 401,
        (token[:-1], WAIT): 401,
        (viewer, WAIT): 403,
        (callbacks.token(SECRET, "t", OTHER), OTHER): 404,  # an approval is nobody's to report
        (token, WAIT.upper()): 401,
    }
    for (credential, wait_id), status in tried.items():
        assert (await report(gateway, {"content": 1}, credential, wait_id)).status_code == status, credential
    for path in (f"/v1/waits/{WAIT}", "/v1/waits?kind=callback", "/v1/runs"):
        answer = await gateway.get(path, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401, "it opens the callback, nothing else"
    shown = await gateway.get(f"/v1/waits/{WAIT}", headers={"authorization": f"Bearer {viewer}"})
    assert "callback_token" not in shown.json()
    assert orchestration.taken == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"content": 1, "error": {"type": "x", "message": "y"}}, 422),
        ({"error": {"type": "Not a code", "message": "y"}}, 422),
        ({"content": 1, "by": "somebody"}, 422),
        ({"content": "x" * MAX_BODY}, 413),
    ],
)
async def test_what_is_no_report(gateway: Gateway, orchestration: Orchestration, body: Any, status: int) -> None:
    answer = await report(gateway, body, callbacks.token(SECRET, "t", WAIT))
    assert answer.status_code == status, answer.text
    assert orchestration.taken == []


async def test_one_that_is_over_otherwise_is_said(
    gateway: Gateway, orchestration: Orchestration, issuer: Issuer
) -> None:
    await orchestration.settle(said(1, "due"))
    answer = await report(gateway, {"content": 1}, callbacks.token(SECRET, "t", WAIT))
    assert (answer.status_code, error_of(answer)["code"]) == (409, "already_settled")
    key = await issuer.key(Role.VIEWER, tenant="t")
    headers = {"authorization": f"Bearer {key}"}
    listed = (await gateway.get("/v1/waits", headers=headers)).json()["waits"]
    assert {(one["kind"], one["state"]) for one in listed} == {("callback", "due"), ("approval", "pending")}
    listed = (await gateway.get("/v1/waits?kind=callback&state=pending", headers=headers)).json()
    assert listed == {"waits": [], "cursor": None}
