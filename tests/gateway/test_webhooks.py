"""Webhooks: who may deliver, what is refused, and that the record is the very bytes that were signed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator

import orjson
import pytest

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.messages.event import RawDelivery
from tests.gateway.support import ALERT_SECRET, GITHUB_SECRET, Gateway, error_of, github_headers, signature

BODY = b'{"ref": "refs/heads/main",\n "n": 1.10, "text": "\\u00e9 \xc3\xa9"}'


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def test_a_signed_delivery_becomes_one_record_byte_for_byte(gateway: Gateway) -> None:
    headers = github_headers(BODY, **{"user-agent": "GitHub-Hookshot/1", "cookie": "c=planted", "x-other": "no"})
    response = await gateway.post("/webhooks/github", BODY, headers)
    assert response.status_code == 202
    assert response.json() == {"delivery_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    [send] = gateway.publisher.sends
    assert isinstance(send.message, RawDelivery)
    assert send.message.body == BODY
    assert send.message.record_key() == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    forwarded = orjson.loads(send.message.headers["http-headers"])
    assert dict(send.message.headers) == {
        "ce_specversion": "1.0",
        "ce_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "ce_source": "/webhooks/github",
        "ce_type": "dev.headrace.webhook.received",
        "ce_time": "2026-01-02T03:04:05.678Z",
        "ce_tenant": "acme",
        "content-type": "application/json",
        "http-headers": send.message.headers["http-headers"],
    }
    assert forwarded == {
        "x-github-event": "push",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "user-agent": "GitHub-Hookshot/1",
    }


async def test_ping_is_accepted(gateway: Gateway) -> None:
    body = b'{"zen":"Speak like a human.","hook_id":1}'
    response = await gateway.post("/webhooks/github", body, github_headers(body, event="ping"))
    assert response.status_code == 202


async def test_a_traceparent_goes_along(gateway: Gateway) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await gateway.post("/webhooks/github", BODY, github_headers(BODY, traceparent=trace))
    await gateway.post("/webhooks/github", BODY, github_headers(BODY, traceparent="garbage"))
    first, second = gateway.publisher.sends
    assert isinstance(first.message, RawDelivery)
    assert isinstance(second.message, RawDelivery)
    assert first.message.headers["traceparent"] == trace
    assert "traceparent" not in second.message.headers


async def test_during_a_rotation_each_secret_is_good() -> None:
    gateway = Gateway({"HEADRACE_WEBHOOK_SECRET_GITHUB": '["old, with comma", "new"]'})
    for secret, status in (("old, with comma", 202), ("new", 202), ("older", 401)):
        response = await gateway.post("/webhooks/github", BODY, github_headers(BODY, secret=secret))
        assert response.status_code == status


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "sha256=",
        signature(BODY).removeprefix("sha256="),
        signature(BODY).replace("sha256=", "sha1="),
        signature(BODY).upper(),
        "sha256=" + signature(BODY)[7:].upper(),
        signature(BODY) + "00",
        signature(BODY)[:-2],
        " ".join((signature(BODY)[:20], signature(BODY)[20:])),
        signature(BODY, "another secret"),
        signature(BODY + b" "),
    ],
)
async def test_a_missing_or_wrong_signature_is_401(gateway: Gateway, given: str | None) -> None:
    headers = github_headers(BODY)
    del headers["x-hub-signature-256"]
    if given is not None:
        headers["x-hub-signature-256"] = given
    response = await gateway.post("/webhooks/github", BODY, headers)
    assert response.status_code == 401
    assert error_of(response)["code"] == "not_authentic"
    assert gateway.publisher.sends == []


async def test_two_signatures_are_none(gateway: Gateway) -> None:
    good = [*github_headers(BODY).items()]
    response = await gateway.post("/webhooks/github", BODY, [*good, ("x-hub-signature-256", signature(BODY))])
    assert response.status_code == 401


async def test_an_unknown_source_is_404_and_names_no_other(gateway: Gateway) -> None:
    response = await gateway.post("/webhooks/nobody", BODY, github_headers(BODY))
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_source"
    assert "github" not in response.text


async def test_a_source_without_secret_is_403_and_says_what_to_set() -> None:
    gateway = Gateway({})
    github = await gateway.post("/webhooks/github", BODY, github_headers(BODY))
    alerts = await gateway.post("/webhooks/alertmanager", b"{}", {"content-type": "application/json"})
    assert [github.status_code, alerts.status_code] == [403, 403]
    assert "HEADRACE_WEBHOOK_SECRET_GITHUB" in error_of(github)["message"]
    assert "HEADRACE_WEBHOOK_OPEN" in error_of(alerts)["message"]
    assert gateway.publisher.sends == []


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("secret", "authorization", "status"),
    [
        (ALERT_SECRET, f"Bearer {ALERT_SECRET}", 202),
        (ALERT_SECRET, f"bearer {ALERT_SECRET}", 202),
        ("user:pass", basic("user:pass"), 202),
        ("user:pass", basic("user:other"), 401),
        ("user:pass", "Basic !!!", 401),
        (ALERT_SECRET, "Bearer ", 401),
        (ALERT_SECRET, f"Bearer {ALERT_SECRET}x", 401),
        (ALERT_SECRET, f"Token {ALERT_SECRET}", 401),
        (ALERT_SECRET, ALERT_SECRET, 401),
        (ALERT_SECRET, None, 401),
    ],
)
async def test_alertmanager_credentials(secret: str, authorization: str | None, status: int) -> None:
    gateway = Gateway({"HEADRACE_WEBHOOK_SECRET_ALERTMANAGER": secret})
    headers = {"content-type": "application/json"} | ({"authorization": authorization} if authorization else {})
    response = await gateway.post("/webhooks/alertmanager", b'{"version":"4"}', headers)
    assert response.status_code == status
    for send in gateway.publisher.sends:
        assert isinstance(send.message, RawDelivery)
        assert "authorization" not in send.message.headers["http-headers"]
        digest = hashlib.sha256(b"alertmanager\x00" + b'{"version":"4"}').hexdigest()
        assert send.message.record_key() == f"sha256:{digest}"


async def test_alertmanager_is_open_only_by_name() -> None:
    gateway = Gateway({}, webhook_open="alertmanager")
    response = await gateway.post("/webhooks/alertmanager", b"{}", {"content-type": "application/json"})
    assert response.status_code == 202


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        (b"", "json", "byte 0"),
        (b'{"a":1', "json", "byte 6"),
        (b'{"a":1} {}', "json", "byte 8"),
        (b"[" * 65 + b"]" * 65, "json_depth", "byte 64"),
        (b"[" * 200_000, "json_depth", "byte 64"),
        (b'{"a":' * 100_000, "json_depth", "byte 320"),
        (b'{"a":1,"a":2}', "json_duplicate_key", "key 'a'"),
        (b'{"a":1,"\\u0061":2}', "json_duplicate_key", "key 'a'"),
        (b'{"a" :1,"a" :2}', "json_duplicate_key", "key 'a'"),
        (b'{"n":123456789012345678901234567890}', "json_number", None),
        (b'{"n":1e999}', "json_number", None),
        (b'{"n":-' + b"9" * 5000 + b"}", "json_number", None),
        (b'{"n":NaN}', "json_number", None),
        (b'{"a":"\xff"}', "json_encoding", "byte 6"),
        (b"\xff\xfe{\x00}\x00", "json_encoding", "byte 0"),
        (b'{"a":"\\ud800"}', "json_encoding", None),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else None,
)
async def test_json_that_readers_could_differ_on_is_400(
    gateway: Gateway, body: bytes, code: str, where: str | None
) -> None:
    response = await gateway.post("/webhooks/github", body, github_headers(body))
    assert response.status_code == 400
    error = error_of(response)
    assert error["code"] == code
    assert where is None or error["where"] == where
    assert gateway.publisher.sends == []


async def test_the_deepest_allowed_nesting_passes(gateway: Gateway) -> None:
    body = b"[" * 64 + b"1" + b"]" * 64
    assert (await gateway.post("/webhooks/github", body, github_headers(body))).status_code == 202


async def test_a_form_is_415_with_a_hint(gateway: Gateway) -> None:
    body = b"payload=%7B%7D"
    headers = github_headers(body) | {"content-type": "application/x-www-form-urlencoded"}
    response = await gateway.post("/webhooks/github", body, headers)
    assert response.status_code == 415
    assert "application/json" in error_of(response)["message"]
    assert "set the webhook's content type" in error_of(response)["message"]


@pytest.mark.parametrize("encoding", ["deflate", "compress", "identity, gzip", "gzip, gzip", "planted"])
async def test_a_compressed_body_is_415(gateway: Gateway, encoding: str) -> None:
    response = await gateway.post("/webhooks/github", BODY, github_headers(BODY, **{"content-encoding": encoding}))
    assert response.status_code == 415
    assert error_of(response)["code"] == "content_encoding"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-github-event", None, "missing_header"),
        ("x-github-delivery", None, "missing_header"),
        ("x-github-delivery", "a" * 257, "bad_header"),
        ("x-github-delivery", "a b", "bad_header"),
        ("x-github-delivery", "\xe9", "bad_header"),
    ],
)
async def test_headers_that_name_the_delivery(gateway: Gateway, name: str, value: str | None, code: str) -> None:
    headers = {k: v.encode("latin-1") for k, v in github_headers(BODY).items() if k != name}
    if value is not None:
        headers[name] = value.encode("latin-1")
    response = await gateway.post("/webhooks/github", BODY, headers)
    assert response.status_code == 400
    assert error_of(response) == error_of(response) | {"code": code, "where": name}


async def test_kafka_away_is_503_with_retry_after(gateway: Gateway) -> None:
    gateway.publisher.fail = DependencyUnavailable("broker-9.internal:9092 is planted")
    response = await gateway.post("/webhooks/github", BODY, github_headers(BODY))
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "planted" not in response.text


async def test_the_database_is_not_needed(gateway: Gateway) -> None:
    gateway.index.away = True
    assert (await gateway.post("/webhooks/github", BODY, github_headers(BODY))).status_code == 202


async def chunks(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("path", ["/webhooks/github", "/events", "/v1/runs"])
async def test_a_body_over_the_limit_is_413_by_length_and_in_chunks(path: str) -> None:
    gateway = Gateway(gateway_max_body_bytes=1000)
    headers = {"content-type": "application/json"}
    declared = await gateway.post(path, b"x" * 1001, headers)
    chunked = await gateway.post(path, chunks(100, 11), headers)
    assert "content-length" not in chunked.request.headers
    for response in (declared, chunked):
        assert response.status_code == 413
        assert error_of(response)["code"] == "too_large"
    assert gateway.publisher.sends == []


async def test_a_body_of_exactly_the_limit_passes() -> None:
    body = b'"' + b"x" * 998 + b'"'
    gateway = Gateway(gateway_max_body_bytes=1000)
    assert (await gateway.post("/webhooks/github", body, github_headers(body))).status_code == 202


@pytest.mark.parametrize("failure", [RuntimeError, FatalError])
async def test_unexpected_failures_say_nothing(gateway: Gateway, failure: type[Exception]) -> None:
    gateway.publisher.fail = failure(f"planted {GITHUB_SECRET}")
    response = await gateway.post("/webhooks/github", BODY, github_headers(BODY))
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal"
    assert "planted" not in response.text
    assert response.headers["x-request-id"]
