"""Health, readiness, metrics, documents, the one shape of errors, and no secret anywhere."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
import structlog
import yaml

from headrace.messages.errors import DependencyUnavailable
from headrace.observe.logging import configure
from tests.gateway.support import ALERT_SECRET, GITHUB_SECRET, Gateway, error_of, github_headers
from tests.support.logs import forget_loggers


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def test_health(gateway: Gateway) -> None:
    assert (await gateway.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("away", "code", "status"),
    [
        ((), 200, "ready"),
        (("database",), 200, "degraded"),
        (("kafka",), 503, "not_ready"),
        (("catalogue",), 503, "not_ready"),
        (("kafka", "database"), 503, "not_ready"),
    ],
)
async def test_readiness_names_what_is_away(gateway: Gateway, away: tuple[str, ...], code: int, status: str) -> None:
    gateway.checks |= dict.fromkeys(away, False)
    response = await gateway.get("/readyz")
    checks = {name: "away" if name in away else "ok" for name in ("kafka", "catalogue", "database")}
    assert (response.status_code, response.json()) == (code, {"status": status, "auth": "off", "checks": checks})


async def test_a_check_that_raises_has_not_passed(gateway: Gateway) -> None:
    async def broken() -> bool:
        raise DependencyUnavailable("planted")

    assert isinstance(gateway.deps.checks, dict)
    gateway.deps.checks["kafka"] = broken
    response = await gateway.get("/readyz")
    assert response.status_code == 503
    assert "planted" not in response.text


async def test_documents(gateway: Gateway) -> None:
    document = (await gateway.get("/openapi.json")).json()
    assert {
        "/webhooks/{source}",
        "/events",
        "/v1/runs",
        "/v1/runs/{run_id}",
        "/v1/runs/{run_id}/events",
        "/v1/runs/{run_id}/cancel",
        "/agent",
        "/agents/run",
        "/agents/status/{run_id}",
        "/v1/results/{ref}",
        "/v1/agents",
        "/v1/agents/{name}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/asyncapi.yaml",
    } <= set(document["paths"])
    assert set(document["paths"]["/v1/runs"]) == {"get", "post"}
    assert (await gateway.get("/docs")).status_code == 200
    asyncapi = await gateway.get("/asyncapi.yaml")
    assert yaml.safe_load(asyncapi.text) == {"asyncapi": "3.0.0"}
    assert asyncapi.headers["content-type"].startswith("application/yaml")


async def test_metrics_count_by_route_never_by_path(gateway: Gateway) -> None:
    body = b"{}"
    await gateway.post("/webhooks/github", body, github_headers(body))
    await gateway.post("/webhooks/planted-name", body, github_headers(body))
    await gateway.get("/planted-path")
    text = (await gateway.get("/metrics")).text
    assert re.search(r'headrace_gateway_requests_total\{route="/webhooks/\{source\}",status="202"\} [1-9]', text)
    assert re.search(r'headrace_gateway_requests_total\{route="unmatched",status="404"\} [1-9]', text)
    assert 'headrace_gateway_seconds_count{route="/webhooks/{source}"}' in text
    assert "planted" not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/webhooks/github", 405, "method_not_allowed"),
        ("PUT", "/events", 405, "method_not_allowed"),
        ("DELETE", "/v1/runs", 405, "method_not_allowed"),
    ],
)
async def test_errors_of_routing_have_the_one_shape(
    gateway: Gateway, method: str, path: str, status: int, code: str
) -> None:
    async with gateway.client() as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert error_of(response)["code"] == code


async def test_request_ids(gateway: Gateway) -> None:
    given = await gateway.get("/healthz", headers={"x-request-id": "abc-123"})
    made = await gateway.get("/healthz")
    refused = await gateway.get("/healthz", headers={"x-request-id": "a b\tc"})
    assert given.headers["x-request-id"] == "abc-123"
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])
    assert re.fullmatch(r"[0-9a-f]{32}", refused.headers["x-request-id"])


@pytest.fixture
def production_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a service writes to its log. All is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    forget_loggers()
    configure("debug")
    yield written
    forget_loggers()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_no_secret_in_any_answer_log_or_metric(production_logs: io.StringIO) -> None:
    gateway = Gateway(events_token="planted-events-token")
    body = b'{"planted-body": "planted-value"}'
    token = {"authorization": "Bearer planted-guess", "content-type": "application/json", "cookie": "planted-cookie"}
    answers = []
    for failure in (None, DependencyUnavailable("planted-broker"), RuntimeError("a bug")):
        gateway.publisher.fail = failure
        for headers in (github_headers(body), github_headers(body, secret="planted-wrong"), token):
            for path in ("/webhooks/github", "/webhooks/alertmanager", "/events", "/v1/runs"):
                answers.append(await gateway.post(path, body, headers))
    answers += [await gateway.get("/metrics"), await gateway.get("/openapi.json")]
    assert {answer.status_code for answer in answers} >= {200, 202, 401, 422, 500, 503}
    logs = production_logs.getvalue()
    assert "webhook_refused" in logs
    assert "RuntimeError: a bug" in logs
    seen = "".join(answer.text + repr(answer.headers) for answer in answers) + logs + repr(gateway.settings)
    for secret in (GITHUB_SECRET, ALERT_SECRET, "planted"):
        assert secret not in seen
