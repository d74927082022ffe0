"""Sources that an operator writes: every scheme without code, in a file of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.gateway.sources.load import load_sources
from headrace.messages.errors import FatalError
from tests.gateway.senders import NOW_S, Delivery, deliveries, flips
from tests.gateway.support import Gateway, error_of

HEAD = "name: own\ndescription: Our own sender.\n"
CERT = """
auth:
  scheme: client-cert
  header: x-client-cert-fingerprint
  proxy_header: x-proxy-secret
  verified: {x-client-verify: SUCCESS}
"""
EXAMPLES = """
- name: one
  body: {id: "{{id}}", at: "{{rfc3339}}", unix: "{{unix}}"}
"""
SECRET = "HEADRACE_WEBHOOK_SECRET_OWN"
SCHEMES = {
    "hmac": ("auth: {scheme: hmac, header: x-sig, algorithm: sha512, encoding: base64}", {SECRET: "planted"}),
    "hmac-timed": (
        'auth: {scheme: hmac, header: x-sig, signed: "{timestamp}|{id}|{body}", id: x-id, '
        "timestamp: {header: x-time, format: unix-ms, tolerance_s: 60}}",
        {SECRET: "planted"},
    ),
    "token": ("auth: {scheme: token}", {SECRET: "planted"}),
    "token-header": ("auth: {scheme: token, header: x-token}", {SECRET: "planted"}),
    "token-query": ("auth: {scheme: token, query: key}", {SECRET: "planted & more"}),
    "basic": ("auth: {scheme: basic}", {SECRET: "user:planted"}),
    "client-cert": (CERT, {SECRET: "ab12", f"{SECRET}_PROXY": "planted"}),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "own.yaml").write_text(EXAMPLES)
    return tmp_path


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_each_scheme_is_one_file(directory: Path, scheme: str) -> None:
    text, environ = SCHEMES[scheme]
    (directory / "own.yaml").write_text(HEAD + text)
    gateway = Gateway(environ, sources_dir=directory)
    [delivery] = deliveries("own", directory, environ)
    good = await gateway.post(delivery.path, delivery.body, delivery.headers)
    assert good.status_code == 202, good.text
    for header in delivery.headers.keys() - {"content-type"}:
        headers = {name: value for name, value in delivery.headers.items() if name != header}
        assert (await gateway.post(delivery.path, delivery.body, headers)).status_code == 401, header
    if delivery.query:
        assert (await gateway.post("/webhooks/own", delivery.body, delivery.headers)).status_code == 401
        twice = f"{delivery.path}&{delivery.query}"
        assert (await gateway.post(twice, delivery.body, delivery.headers)).status_code == 401


@pytest.mark.parametrize("scheme", ["hmac", "hmac-timed"])
async def test_every_single_bit_counts(directory: Path, scheme: str) -> None:
    text, environ = SCHEMES[scheme]
    (directory / "own.yaml").write_text(HEAD + text)
    verifier = load_sources(Gateway({}, sources_dir=directory).settings, environ)["own"].verifier
    [delivery] = deliveries("own", directory, environ)
    assert verifier is not None
    assert await verifier.verify(delivery.incoming())
    for body in flips(delivery.body):
        assert not await verifier.verify(delivery.incoming(body=body))
    for header in delivery.headers.keys() - {"content-type"}:
        for flipped in flips(delivery.headers[header].encode()):
            headers = delivery.headers | {header: flipped.decode("latin-1")}
            assert not await verifier.verify(delivery.incoming(headers=headers)), (header, flipped)
    if scheme == "hmac-timed":
        assert not await verifier.verify(delivery.incoming(now=NOW_S + 61))


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 202),
        ({"x-client-cert-fingerprint": "cd34"}, 401),
        ({"x-client-cert-fingerprint": "ab12, cd34"}, 401),
        ({"x-client-verify": "FAILED"}, 401),
        ({"x-proxy-secret": "wrong"}, 401),
        ({"x-proxy-secret": ""}, 401),
    ],
)
async def test_a_certificate_counts_by_the_word_of_the_proxy_alone(
    directory: Path, changed: dict[str, str], status: int
) -> None:
    (directory / "own.yaml").write_text(HEAD + CERT)
    environ = SCHEMES["client-cert"][1]
    gateway = Gateway(environ, sources_dir=directory)
    [delivery] = deliveries("own", directory, environ)
    response = await gateway.post("/webhooks/own", delivery.body, delivery.headers | changed)
    assert response.status_code == status


def test_a_proxy_without_a_secret_stops_the_start(directory: Path) -> None:
    (directory / "own.yaml").write_text(HEAD + CERT)
    with pytest.raises(FatalError, match=f"{SECRET}_PROXY"):
        Gateway({SECRET: "ab12"}, sources_dir=directory)


@pytest.mark.parametrize(
    ("body", "status", "key"),
    [
        (b'{"n":{"id":"a-1"}}', 202, "a-1"),
        (b'{"n":{"id":17}}', 202, "17"),
        (b'{"n":{"id":true}}', 400, None),
        (b'{"n":{"id":"a b"}}', 400, None),
        (b'{"n":{}}', 400, None),
        (b'[{"n":{"id":"a-1"}}]', 400, None),
    ],
)
async def test_an_id_in_the_body(directory: Path, body: bytes, status: int, key: str | None) -> None:
    (directory / "own.yaml").write_text(f"{HEAD}auth: {{scheme: none}}\ndelivery_id: {{body: /n/id}}")
    gateway = Gateway({}, sources_dir=directory, webhook_open="own")
    delivery = Delivery("own", "", "", {"content-type": "application/json"}, body)
    response = await gateway.post(delivery.path, delivery.body, delivery.headers)
    assert response.status_code == status
    assert [send.message.record_key() for send in gateway.publisher.sends] == ([key] if key else [])
    if status == 400:
        assert error_of(response) == error_of(response) | {"code": "delivery_id", "where": "/n/id"}


@pytest.mark.parametrize("scheme", ["hmac", "client-cert"])
def test_what_is_proved_can_not_be_opened(directory: Path, scheme: str) -> None:
    (directory / "own.yaml").write_text(HEAD + SCHEMES[scheme][0])
    with pytest.raises(FatalError, match="HEADRACE_WEBHOOK_OPEN"):
        Gateway({}, sources_dir=directory, webhook_open="own")
