"""Handshakes: answered on the sources that are set up for them, after the signature where there is one, and nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import httpx2
import orjson
import pytest

from headrace.gateway.sources.build import variable_of
from headrace.gateway.sources.sign import sign
from tests.gateway.senders import CONFIGS, NOW_S, Delivery, deliveries, secrets
from tests.gateway.support import Gateway, error_of, github_headers

SLACK = {
    "type": "url_verification",
    "token": "planted-token",
    "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
}
ZOOM = {
    "event": "endpoint.url_validation",
    "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"},
    "event_ts": 1654503849680,
}
GRID = [
    {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
        "topic": "/subscriptions/1",
        "subject": "",
        "data": {"validationCode": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6", "validationUrl": "https://planted.test/"},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-01-02T03:04:05Z",
        "metadataVersion": "1",
        "dataVersion": "1",
    }
]
EVENT_GRID = {"webhook-request-origin": "eventgrid.azure.net"}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(secrets(), events_origins="eventgrid.azure.net,events.example.org")


def made(name: str, value: Any) -> Delivery:
    body = orjson.dumps(value)
    given = {variable: [secret.encode()] for variable, secret in secrets(name).items()}
    proof = sign(CONFIGS[name], given, body, now=NOW_S, delivery="d-1")
    assert proof is not None
    headers = {"content-type": "application/json", **proof.headers}
    return Delivery(name, "handshake", "d-1", headers, body, proof.query)


def secret_of(name: str) -> bytes:
    config = CONFIGS[name]
    return secrets(name)[variable_of(config, config.auth[0].secret)].encode()


async def ask(gateway: Gateway, method: str, path: str, **kwargs: Any) -> httpx2.Response:
    async with gateway.client() as client:
        return await client.request(method, path, **kwargs)


ZOOM_TOKEN = hmac.new(secret_of("zoom"), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
ECHOES = [
    ("slack", SLACK, {"challenge": SLACK["challenge"]}),
    ("zoom", ZOOM, {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": ZOOM_TOKEN}),
    ("eventgrid", GRID, {"validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}),
]


@pytest.mark.parametrize(("name", "value", "answer"), ECHOES)
async def test_a_verified_question_is_answered_and_leaves_no_record(
    gateway: Gateway, name: str, value: Any, answer: dict[str, str]
) -> None:
    delivery = made(name, value)
    response = await gateway.post(delivery.path, delivery.body, delivery.headers)
    assert (response.status_code, response.json()) == (200, answer)
    assert response.headers["content-type"] == "application/json"
    assert gateway.publisher.sends == []


@pytest.mark.parametrize(("name", "value", "answer"), ECHOES)
async def test_one_that_is_not_verified_is_401(gateway: Gateway, name: str, value: Any, answer: dict[str, str]) -> None:
    response = await gateway.post(f"/webhooks/{name}", orjson.dumps(value), {"content-type": "application/json"})
    assert response.status_code == 401
    assert not any(text in response.text for text in answer.values())


@pytest.mark.parametrize(("name", "value", "_answer"), ECHOES)
async def test_on_a_source_that_is_not_set_up_for_it_it_is_a_delivery(
    gateway: Gateway, name: str, value: Any, _answer: Any
) -> None:
    others = {"slack": "stripe", "zoom": "slack", "eventgrid": "pagerduty"}
    delivery = made(others[name], value)
    assert (await gateway.post(delivery.path, delivery.body, delivery.headers)).status_code == 202
    assert len(gateway.publisher.sends) == 1


@pytest.mark.parametrize("challenge", [None, "", 17, ["a"], "x" * 1025])
async def test_a_question_without_its_text_is_400(gateway: Gateway, challenge: Any) -> None:
    delivery = made("slack", SLACK | {"challenge": challenge})
    response = await gateway.post(delivery.path, delivery.body, delivery.headers)
    assert response.status_code == 400
    assert error_of(response) == error_of(response) | {"code": "handshake", "where": "/challenge"}


async def test_a_replayed_question_is_refused() -> None:
    late = Gateway(secrets())
    delivery = made("slack", SLACK)
    headers = delivery.headers | {"x-slack-request-timestamp": str(int(NOW_S) - 301)}
    assert (await late.post(delivery.path, delivery.body, headers)).status_code == 401


async def test_github_s_ping_is_taken(gateway: Gateway) -> None:
    ping = next(each for each in deliveries("github") if each.name == "ping")
    assert (await gateway.post(ping.path, ping.body, ping.headers)).status_code == 202


# --- by GET -------------------------------------------------------------------------------------------------------------

META = {
    "hub.mode": "subscribe",
    "hub.verify_token": secrets("meta")["HEADRACE_WEBHOOK_SECRET_META_VERIFY_TOKEN"],
    "hub.challenge": "1158201444",
}


async def test_meta_s_challenge_is_echoed_as_text(gateway: Gateway) -> None:
    response = await ask(gateway, "GET", "/webhooks/meta", params=META)
    assert (response.status_code, response.text) == (200, "1158201444")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "changed",
    [
        {"hub.verify_token": "wrong"},
        {"hub.verify_token": ""},
        {"hub.mode": "unsubscribe"},
        {"hub.challenge": ""},
        {"hub.challenge": "<script>"},
        {"hub.challenge": "a b"},
        {"hub.challenge": "x" * 1025},
    ],
)
async def test_another_question_of_meta_is_403(gateway: Gateway, changed: dict[str, str]) -> None:
    response = await ask(gateway, "GET", "/webhooks/meta", params=META | changed)
    assert (response.status_code, error_of(response)["code"]) == (403, "handshake")
    assert "script" not in response.text


async def test_meta_without_a_verify_token_answers_nobody() -> None:
    gateway = Gateway({"HEADRACE_WEBHOOK_SECRET_META": "planted"})
    response = await ask(gateway, "GET", "/webhooks/meta", params=META | {"hub.verify_token": ""})
    assert response.status_code == 403


async def test_x_is_given_the_digest_of_its_token(gateway: Gateway) -> None:
    token = "9b4507b3-9040-4669-9ca3-6b94edb50553"
    response = await ask(gateway, "GET", "/webhooks/x", params={"crc_token": token})
    digest = base64.b64encode(hmac.new(secret_of("x"), token.encode(), hashlib.sha256).digest()).decode()
    assert (response.status_code, response.json()) == (200, {"response_token": f"sha256={digest}"})


@pytest.mark.parametrize(
    "token", ["", '{"for_user_id":"1"}', "[]", "17", "null", "true", '"a"', "-1e5", "x" * 257, "a b"]
)
async def test_nobody_is_given_the_signature_of_a_delivery(gateway: Gateway, token: str) -> None:
    response = await ask(gateway, "GET", "/webhooks/x", params={"crc_token": token})
    assert response.status_code == 403
    assert "sha256" not in response.text


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"meta", "x"}))
async def test_other_sources_have_nothing_to_get(gateway: Gateway, name: str) -> None:
    response = await ask(gateway, "GET", f"/webhooks/{name}", params=META | {"crc_token": "a-b"})
    assert (response.status_code, error_of(response)["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_a_source_that_is_unknown_or_not_configured_answers_no_handshake() -> None:
    gateway = Gateway({})
    assert (await ask(gateway, "GET", "/webhooks/nobody")).status_code == 404
    assert (await ask(gateway, "GET", "/webhooks/meta", params=META)).status_code == 403
    assert (await ask(gateway, "OPTIONS", "/webhooks/eventgrid", headers=EVENT_GRID)).status_code == 403


# --- CloudEvents' OPTIONS -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/events", "/webhooks/eventgrid"])
async def test_an_origin_that_is_allowed_is_told_so(gateway: Gateway, path: str) -> None:
    response = await ask(gateway, "OPTIONS", path, headers=EVENT_GRID)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert response.headers["webhook-allowed-rate"] == "*"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/events", {}),
        ("/events", {"webhook-request-origin": "planted.test"}),
        ("/events", {"webhook-request-origin": "*"}),
        ("/webhooks/eventgrid", {"webhook-request-origin": "events.example.org"}),
        ("/webhooks/github", EVENT_GRID),
    ],
)
async def test_any_other_is_405(gateway: Gateway, path: str, headers: dict[str, str]) -> None:
    response = await ask(gateway, "OPTIONS", path, headers=headers)
    assert response.status_code == 405
    assert "webhook-allowed-origin" not in response.headers


async def test_by_default_no_origin_is_allowed() -> None:
    assert (await ask(Gateway({}), "OPTIONS", "/events", headers=EVENT_GRID)).status_code == 405


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_stay_refused(gateway: Gateway, method: str) -> None:
    for path in ("/webhooks/github", "/webhooks/meta", "/events"):
        response = await ask(gateway, method, path, headers=github_headers(b"{}"))
        assert (response.status_code, error_of(response)["code"]) == (405, "method_not_allowed")
