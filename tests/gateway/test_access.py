"""Every endpoint of the OpenAPI document with every kind of credential, on a real database; and the table behind it."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from headrace.auth import Role
from headrace.auth.settings import AuthSettings
from headrace.auth.store import AuthStore
from headrace.gateway.access import ACCESS, Door
from headrace.messages.errors import FatalError
from tests.auth.credentials import FOREIGN, NOW, SECRET, Issuer, forged, other_secret
from tests.gateway.support import Gateway, error_of
from tests.gateway.test_operations import production_logs
from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "pool", "production_logs"]

Make = Callable[[Issuer], Awaitable[str]]
LONG_AGO = NOW - timedelta(days=1)


async def of_another_secret(issuer: Issuer) -> str:
    return other_secret(await issuer.key())


def made(token: str) -> Make:
    async def make(_: Issuer) -> str:
        return token

    return make


REFUSED: dict[str, tuple[Make, int]] = {
    "garbage": (made("planted-garbage"), 401),
    "empty": (made(""), 401),
    "key, wrong secret": (of_another_secret, 401),
    "key, expired": (lambda issuer: issuer.key(expires=LONG_AGO), 401),
    "key, revoked": (lambda issuer: issuer.key(revoked=True), 401),
    "key, other tenant": (lambda issuer: issuer.key(tenant="other"), 403),
    "token, wrong signature": (lambda issuer: issuer.token(secret=FOREIGN), 401),
    "token, unsigned": (made(forged(algorithm="none")), 401),
    "token, expired": (lambda issuer: issuer.token(issued=LONG_AGO), 401),
    "token, revoked": (lambda issuer: issuer.token(revoked=True), 401),
    "token, other tenant": (lambda issuer: issuer.token(tenant="other"), 403),
}


DOORS = {  # github has no handshake but its ping, and no origin is listed
    ("POST", "/webhooks/{source}"): 401,
    ("GET", "/webhooks/{source}"): 405,
    ("OPTIONS", "/webhooks/{source}"): 405,
    ("OPTIONS", "/events"): 405,
}


@pytest.fixture
async def issuer(pool: asyncpg.Pool) -> Issuer:
    return Issuer(AuthStore(pool))


@pytest.fixture
def gateway(issuer: Issuer) -> Gateway:
    return Gateway(authenticator=issuer.authenticator)


async def operations(gateway: Gateway) -> list[tuple[str, str]]:
    paths = (await gateway.get("/openapi.json")).json()["paths"]
    return sorted((method.upper(), path) for path, methods in paths.items() for method in methods)


async def call(gateway: Gateway, route: tuple[str, str], headers: Any) -> httpx2.Response:
    method, path = route
    path = path.replace("{source}", "github").replace("{", "").replace("}", "")
    async with gateway.client() as client:
        return await client.request(method, path, headers=headers, content=b"{}" if method == "POST" else b"")


async def test_each_operation_has_a_permission_and_no_permission_is_left_over(gateway: Gateway) -> None:
    assert set(await operations(gateway)) == set(ACCESS)


async def test_the_document_says_what_each_operation_asks_for(gateway: Gateway) -> None:
    document = (await gateway.get("/openapi.json")).json()
    for (method, path), need in ACCESS.items():
        operation = document["paths"][path][method.lower()]
        assert ("security" in operation) == isinstance(need, Role)
        assert not isinstance(need, Role) or {"401", "403"} <= set(operation["responses"])
    assert set(document["components"]["securitySchemes"]) == {"bearer"}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_credential_that_does_not_count_opens_nothing(
    gateway: Gateway, issuer: Issuer, kind: str, production_logs: io.StringIO
) -> None:
    make, status = REFUSED[kind]
    credential = await make(issuer)
    for route in await operations(gateway):
        answer = await call(gateway, route, {"authorization": f"Bearer {credential}"})
        if isinstance(ACCESS[route], Door):
            assert answer.status_code == DOORS.get(route, 200), route
            continue
        assert answer.status_code == status, route
        assert error_of(answer)["code"] == ("unauthorized" if status == 401 else "forbidden")
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert not credential or credential not in answer.text + repr(answer.headers)
    assert gateway.publisher.calls == []
    assert "request_refused" in production_logs.getvalue()
    assert not credential or credential not in production_logs.getvalue()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic YWxpY2U6cGxhbnRlZA=="},
        {"authorization": "Bearer"},
        {"cookie": "session=planted"},
        {"x-api-key": "planted"},
    ],
)
async def test_without_a_bearer_credential_nothing_opens(gateway: Gateway, headers: dict[str, str]) -> None:
    for route in await operations(gateway):
        if isinstance(ACCESS[route], Role):
            answer = await call(gateway, route, headers)
            assert answer.status_code == 401, route
            assert answer.headers["www-authenticate"] == "Bearer"
    assert gateway.publisher.calls == []


async def test_two_credentials_are_none(gateway: Gateway, issuer: Issuer) -> None:
    twice = [("authorization", f"Bearer {await issuer.key()}"), ("authorization", f"Bearer {await issuer.token()}")]
    assert (await call(gateway, ("GET", "/v1/runs"), twice)).status_code == 401


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_role_opens_what_the_table_says(gateway: Gateway, issuer: Issuer, role: Role, kind: str) -> None:
    credential = await (issuer.key(role) if kind == "key" else issuer.token(role))
    for route in await operations(gateway):
        need = ACCESS[route]
        if not isinstance(need, Role):
            continue
        answer = await call(gateway, route, {"authorization": f"Bearer {credential}"})
        assert (answer.status_code == 403) == (role < need), route
        assert answer.status_code not in (401, 500), route
        if role < need:
            assert error_of(answer)["message"] == f"this needs the role {need} or a greater one"


async def test_head_asks_for_what_get_does(gateway: Gateway) -> None:
    assert (await call(gateway, ("HEAD", "/v1/runs/run_id/events"), {})).status_code == 401


async def test_a_route_that_nobody_declared_is_closed_to_all(gateway: Gateway, issuer: Issuer) -> None:
    gateway.app.add_api_route("/undeclared", lambda: "open")
    for headers in ({}, {"authorization": f"Bearer {await issuer.key()}"}):
        assert (await gateway.get("/undeclared", headers=headers)).status_code == 403


async def test_the_events_token_opens_events_alone_and_beside_keys(issuer: Issuer) -> None:
    gateway = Gateway(authenticator=issuer.authenticator, events_token="planted-events-token")
    event = b'{"source": "shop", "event_type": "t", "id": "1", "payload": {}}'
    for credential in ("planted-events-token", await issuer.key(Role.DEVELOPER)):
        headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
        assert (await gateway.post("/events", event, headers)).status_code == 202
    for route in ACCESS:
        if isinstance(ACCESS[route], Role) and route != ("POST", "/events"):
            answer = await call(gateway, route, {"authorization": "Bearer planted-events-token"})
            assert answer.status_code == 401, route


async def test_the_tenant_is_the_credential_s_whatever_the_payload_says(gateway: Gateway, issuer: Issuer) -> None:
    headers = {"authorization": f"Bearer {await issuer.key()}", "content-type": "application/json"}
    plain = b'{"source": "shop", "event_type": "t", "id": "1", "payload": {}, "tenant": "other"}'
    binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t", "ce-tenant": "other"}
    assert (await gateway.post("/events", plain, headers)).status_code == 202
    assert (await gateway.post("/events", b"{}", headers | binary)).status_code == 202
    run = b'{"agent": "pr-reviewer", "input": {"title": "x"}}'
    assert (await gateway.post("/v1/runs", run, headers)).status_code == 202
    assert (await gateway.post("/v1/runs", run[:-1] + b', "tenant": "other"}', headers)).status_code == 422
    *events, job = gateway.publisher.sends
    assert [send.message.headers["ce_tenant"] for send in events] == ["acme", "acme"]
    assert job.message.tenant == "acme"


async def test_while_the_database_is_away_it_is_503_and_webhooks_go_on(
    gateway: Gateway, issuer: Issuer, pool: asyncpg.Pool
) -> None:
    key = await issuer.key()
    await pool.close()
    answer = await call(gateway, ("GET", "/v1/agents"), {"authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await call(gateway, ("POST", "/webhooks/{source}"), {})).status_code == 401  # its own: no signature


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_off_is_for_loopback(host: str) -> None:
    assert not AuthSettings(_env_file=None, auth="off").required_on(host)
    assert AuthSettings(_env_file=None).required_on(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "127.0.0.1.example"])
def test_elsewhere_it_does_not_start_with_auth_off(host: str) -> None:
    with pytest.raises(FatalError, match="HEADRACE_AUTH=on"):
        AuthSettings(_env_file=None, auth="off").required_on(host)


def test_it_does_not_start_without_a_secret_or_with_a_short_one() -> None:
    with pytest.raises(FatalError, match="HEADRACE_AUTH_SECRET is not set"):
        AuthSettings(_env_file=None).secrets()
    with pytest.raises(ValueError, match="shorter than 32") as refused:
        AuthSettings(_env_file=None, auth_secret="planted-short")
    assert "planted" not in str(refused.value.errors(include_input=False))
    read = AuthSettings(_env_file=None, auth_secret=f"{SECRET.decode()}, {FOREIGN.decode()}")
    assert read.secrets() == (SECRET, FOREIGN)
    assert "planted" not in repr(read)
