"""Every built-in source, by its own examples: what is taken, what is refused, and what of it becomes the record."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from headrace.gateway.sources.build import variables
from headrace.gateway.sources.load import load_sources
from headrace.gateway.sources.schemes import HmacAuth
from headrace.gateway.sources.verify import Verifier
from headrace.messages.event import RawDelivery
from tests.gateway.senders import CONFIGS, CREDENTIALS, SIGNED, Delivery, deliveries, flips, secrets
from tests.gateway.support import Gateway, error_of

PROVABLE = sorted({*SIGNED, *CREDENTIALS})


def verifier_of(name: str) -> Verifier:
    verifier = load_sources(Gateway({}).settings, secrets(name))[name].verifier
    assert verifier is not None
    return verifier


def test_there_is_an_example_of_every_source() -> None:
    assert set(CONFIGS) == {*PROVABLE, "sns"}
    assert all(deliveries(name) for name in CONFIGS)
    assert all(config.setup for config in CONFIGS.values())


async def sent(gateway: Gateway, delivery: Delivery) -> int:
    return (await gateway.post(delivery.path, delivery.body, delivery.headers)).status_code


@pytest.mark.parametrize("name", PROVABLE)
async def test_each_example_becomes_one_record_byte_for_byte(name: str) -> None:
    gateway = Gateway(secrets())
    examples = deliveries(name)
    for delivery in examples:
        assert await sent(gateway, delivery) == 202, delivery.name
    records = [send.message for send in gateway.publisher.sends]
    assert len(records) == len(examples)
    for record, delivery in zip(records, examples, strict=True):
        assert isinstance(record, RawDelivery)
        assert record.body == delivery.body
        assert record.headers["ce_source"] == f"/webhooks/{name}"
        forwarded = orjson.loads(record.headers["http-headers"])
        wanted = CONFIGS[name].headers
        assert forwarded == {key: value for key, value in delivery.headers.items() if key in wanted}
        assert "planted" not in str(record.headers)
    assert len({record.record_key() for record in records}) == len(records)


@pytest.mark.parametrize("name", PROVABLE)
async def test_the_id_is_the_sender_s_wherever_there_is_one(name: str) -> None:
    gateway, [delivery, *_] = Gateway(secrets()), deliveries(name)
    assert await sent(gateway, delivery) == 202
    [send] = gateway.publisher.sends
    rule = CONFIGS[name].delivery_id
    key = send.message.record_key() or ""
    if rule.header or rule.body:
        assert key.endswith(delivery.id)
    else:
        assert key.startswith("sha256:")


@pytest.mark.parametrize("name", PROVABLE)
async def test_an_unknown_event_type_is_taken_all_the_same(name: str) -> None:
    """What it is about is ingest's business: a sender's new types must not be lost."""
    gateway, config = Gateway(secrets()), CONFIGS[name]
    body = b'{"type":"no.such.type.yet"}'
    signed = _proved(name, body)
    if config.event_type.header:
        signed.headers[config.event_type.header] = "no_such_type_yet"
    assert await sent(gateway, signed) == 202


def _proved(name: str, body: bytes) -> Delivery:
    """A delivery of ``body``, with the headers of an example."""
    from headrace.gateway.sources.sign import sign
    from tests.gateway.senders import NOW_S

    [example, *_] = deliveries(name)
    given = {variable: [secret.encode()] for variable, secret in secrets(name).items()}
    proof = sign(CONFIGS[name], given, body, now=NOW_S, delivery=example.id)
    assert proof is not None
    return Delivery(name, "made", example.id, example.headers | dict(proof.headers), body, proof.query)


@pytest.mark.parametrize("name", PROVABLE)
async def test_without_proof_or_with_another_s_it_is_401(name: str) -> None:
    gateway, [delivery, *_] = Gateway(secrets()), deliveries(name)
    [other, *_] = deliveries(name, environ=dict.fromkeys(secrets(name), "d3Jvbmc="))
    bare = {k: v for k, v in delivery.headers.items() if k in ("content-type", *CONFIGS[name].headers)}
    for headers, query in ((bare, ""), (other.headers, other.query)):
        response = await gateway.post(f"/webhooks/{name}?{query}", delivery.body, headers)
        assert (response.status_code, error_of(response)["code"]) == (401, "not_authentic")
    assert gateway.publisher.sends == []


@pytest.mark.parametrize("name", PROVABLE)
async def test_during_a_rotation_each_secret_is_good(name: str) -> None:
    old, new = (f"{'QUFB' if number else 'QkJC'}" for number in range(2))
    variables_ = [v for v in secrets(name) if "VERIFY" not in v]
    gateway = Gateway(dict.fromkeys(variables_, f"{old},{new}"))
    for secret, status in ((old, 202), (new, 202), ("Q0ND", 401)):
        [delivery, *_] = deliveries(name, environ=dict.fromkeys(variables_, secret))
        assert await sent(gateway, delivery) == status


@pytest.mark.parametrize("name", SIGNED)
async def test_every_single_bit_of_a_signed_delivery_counts(name: str) -> None:
    verifier, [delivery, *_] = verifier_of(name), deliveries(name)
    assert await verifier.verify(delivery.incoming())
    for body in flips(delivery.body):
        assert not await verifier.verify(delivery.incoming(body=body))
    for header in _proving(name):
        for flipped in flips(delivery.headers[header].encode("latin-1")):
            headers = delivery.headers | {header: flipped.decode("latin-1")}
            assert not await verifier.verify(delivery.incoming(headers=headers)), (header, flipped)


def _proving(name: str) -> Iterator[str]:
    auth = CONFIGS[name].auth[0]
    assert isinstance(auth, HmacAuth)
    yield from {auth.header, *auth.signed_headers()}


@pytest.mark.parametrize("name", CREDENTIALS)
async def test_every_single_bit_of_a_credential_counts(name: str) -> None:
    verifier, [delivery, *_] = verifier_of(name), deliveries(name)
    assert await verifier.verify(delivery.incoming())
    [secret] = secrets(name).values()
    for flipped in flips(secret.encode()):
        other = flipped.decode("latin-1")
        headers = {key: value.replace(secret, other) for key, value in delivery.headers.items()}
        query = delivery.query.replace(secret, other)
        assert not await verifier.verify(delivery.incoming(headers=headers, query=query))


TIMED = [name for name in SIGNED if (auth := CONFIGS[name].auth[0]) and isinstance(auth, HmacAuth) and auth.timestamp]


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(("late_s", "right"), [(299, True), (-299, True), (302, False), (-302, False)])
async def test_what_was_signed_long_ago_or_hence_is_refused(name: str, late_s: int, right: bool) -> None:
    verifier, [delivery, *_] = verifier_of(name), deliveries(name)
    now = delivery.incoming().now + late_s
    assert await verifier.verify(delivery.incoming(now=now)) == right


def test_those_that_sign_a_time() -> None:
    assert TIMED == ["gitlab", "grafana", "slack", "standard-webhooks", "stripe", "zendesk", "zoom"]


async def test_a_form_of_slack_is_kept_as_it_is_and_one_of_others_refused() -> None:
    gateway = Gateway(secrets())
    command = next(each for each in deliveries("slack") if each.name == "slash command")
    assert await sent(gateway, command) == 202
    [send] = gateway.publisher.sends
    assert isinstance(send.message, RawDelivery)
    assert send.message.headers["content-type"] == "application/x-www-form-urlencoded"
    assert send.message.body == command.body
    [stripe] = deliveries("stripe")
    assert (
        await gateway.post(stripe.path, stripe.body, stripe.headers | {"content-type": "text/plain"})
    ).status_code == 415


async def test_cloudevents_with_equal_data_are_two_deliveries() -> None:
    gateway, [binary, *_] = Gateway(secrets()), deliveries("cloudevents")
    for changed in ({}, {}, {"ce-id": "another"}, {"ce-source": "/another"}):
        assert (await gateway.post(binary.path, binary.body, binary.headers | changed)).status_code == 202
    keys = [send.message.record_key() for send in gateway.publisher.sends]
    assert (keys[0] == keys[1], len(set(keys))) == (True, 3)


# --- several schemes ----------------------------------------------------------------------------------------------------


async def test_a_signature_decides_where_there_is_one() -> None:
    """Whoever knows GitLab's token must not make up for a wrong signature with it."""
    environ = secrets("gitlab") | {"HEADRACE_WEBHOOK_SECRET_GITLAB": "planted-token"}
    gateway = Gateway(environ)
    [signed, *_] = deliveries("gitlab")
    token = {"content-type": "application/json", "x-gitlab-event": "Push Hook", "x-gitlab-token": "planted-token"}
    for body, headers, status in (
        (signed.body, signed.headers, 202),
        (signed.body, token, 202),
        (signed.body, signed.headers | token, 202),
        (signed.body + b" ", signed.headers | token, 401),
        (signed.body, signed.headers | {"x-gitlab-token": "wrong"}, 202),
        (signed.body, token | {"x-gitlab-token": "wrong"}, 401),
    ):
        assert (await gateway.post("/webhooks/gitlab", body, headers)).status_code == status
    assert variables(CONFIGS["gitlab"]).keys() == environ.keys()


async def test_gitlab_s_id_is_one_whether_it_signs_or_not() -> None:
    gateway = Gateway(secrets("gitlab") | {"HEADRACE_WEBHOOK_SECRET_GITLAB": "planted-token"})
    [signed, *_] = deliveries("gitlab")
    bare = {k: v for k, v in signed.headers.items() if not k.startswith("webhook-")} | {
        "x-gitlab-token": "planted-token"
    }
    old = {k: v for k, v in bare.items() if k != "idempotency-key"}
    for headers in (signed.headers, bare, old):
        assert (await gateway.post("/webhooks/gitlab", signed.body, headers)).status_code == 202
    first, second, third = [send.message.record_key() or "" for send in gateway.publisher.sends]
    assert first == second == signed.id
    assert third.startswith("sha256:")


async def test_grafana_s_three_ways() -> None:
    for suffix, scheme in (("_TIMED", 0), ("_SIGNING", 1), ("", 2)):
        environ = {f"HEADRACE_WEBHOOK_SECRET_GRAFANA{suffix}": "user:planted"}
        gateway, [delivery] = Gateway(environ), deliveries("grafana", environ=environ)
        assert await sent(gateway, delivery) == 202
        assert ("authorization" in delivery.headers) == (scheme == 2)
        assert ("x-grafana-alerting-signature-timestamp" in delivery.headers) == (scheme == 0)
