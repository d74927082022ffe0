"""Amazon SNS: whose word counts, where its certificate may come from, and what the gateway asks of whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from headrace.gateway.sources.certificates import Certificates
from headrace.gateway.sources.schemes import SnsAuth
from headrace.gateway.sources.sns import SnsVerifier
from headrace.gateway.sources.verify import Incoming
from headrace.messages.event import RawDelivery
from tests.gateway.amazon import CERTIFICATE, HOST, NOW_S, SUBSCRIBE, Amazon, amazon, certificate, message, signed
from tests.gateway.senders import TOPIC, flips
from tests.gateway.support import NOW, Gateway, error_of
from tests.tools.servers import response

CERTIFICATE_PATH = CERTIFICATE.removeprefix(f"https://{HOST}")
TEXT = {"content-type": "text/plain; charset=UTF-8"}
SIGNED = {"Type", "MessageId", "TopicArn", "Message", "Timestamp", "Subject", "Signature"}


@pytest.fixture
async def sns(tmp_path: Path) -> AsyncIterator[Amazon]:
    async with amazon(tmp_path) as host:
        yield host


def gateway_of(sns: Amazon, topics: str = TOPIC) -> Gateway:
    return Gateway({"HEADRACE_WEBHOOK_SECRET_SNS": topics}, outbound=sns.outbound)


async def sent(gateway: Gateway, body: bytes) -> int:
    return (await gateway.post("/webhooks/sns", body, TEXT)).status_code


@pytest.mark.parametrize("changed", [{}, {"SignatureVersion": "1"}, {"Subject": None}, {"UnsubscribeURL": None}])
async def test_a_signed_notification_is_one_record(sns: Amazon, changed: dict[str, Any]) -> None:
    gateway, body = gateway_of(sns), signed(message(**changed))
    assert await sent(gateway, body) == 202
    [send] = gateway.publisher.sends
    assert isinstance(send.message, RawDelivery)
    assert send.message.body == body
    assert send.message.record_key() == message()["MessageId"]
    assert sns.asked == [f"GET {CERTIFICATE_PATH}"]


async def test_every_single_bit_of_what_is_signed_counts(sns: Amazon) -> None:
    """SNS signs fields: a changed bit elsewhere leaves every one of them, and so the event, as it was."""
    verifier, body = SnsVerifier(SnsAuth(scheme="sns"), [TOPIC.encode()], Certificates(sns.outbound)), signed(message())
    good = orjson.loads(body)
    assert await verifier.verify(Incoming({}, body, NOW_S))
    taken = 0
    for changed in flips(body):
        if await verifier.verify(Incoming({}, changed, NOW_S)):
            taken += 1
            assert {name: orjson.loads(changed)[name] for name in SIGNED} == {name: good[name] for name in SIGNED}
    assert taken < len("UnsubscribeURL") * 8 + len(good["UnsubscribeURL"]) * 8


FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"Type":"Notification"}',
        signed(message(), FOREIGN),
        signed(message(TopicArn="arn:aws:sns:us-east-1:999999999999:alarms")),
        signed(message(TopicArn="arn:aws:sns:eu-west-1:123456789012:alarms")),
        signed(message(SignatureVersion="3")),
        signed(message(SigningCertURL=None)),
        signed(message(Subject="a\nTimestamp\nb")),
        signed(message(MessageId="a\nSubject\nb", Subject=None)),
        orjson.dumps(message()),
        orjson.dumps(message() | {"Signature": ""}),
        orjson.dumps(message() | {"Signature": 1}),
        signed(message(Type="SomethingElse")),
        signed(message(Timestamp="2026-01-02T01:04:04.678Z")),
        signed(message(Timestamp="2026-01-02T05:04:06.678Z")),
        signed(message(Timestamp="now")),
        signed(message())[:-1] + b',"Type":"Notification"}',
    ],
    ids=lambda _: "body",  # keys are new in each process, and the names of tests must not be
)
async def test_what_is_not_signed_for_a_listed_topic_is_401(sns: Amazon, body: bytes) -> None:
    gateway = gateway_of(sns)
    assert await sent(gateway, body) == 401
    assert gateway.publisher.sends == []


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE.replace("https:", "http:"),
        CERTIFICATE.replace("us-east-1", "eu-west-1"),
        CERTIFICATE.replace(HOST, "planted.s3.amazonaws.com"),
        CERTIFICATE.replace(HOST, f"{HOST}.planted.test"),
        CERTIFICATE.replace(HOST, f"planted@{HOST}"),
        CERTIFICATE.replace(HOST, f"{HOST}:8443"),
        CERTIFICATE.replace(HOST, f"{HOST}@planted.test"),
        CERTIFICATE.replace(".pem", ".pem?planted"),
        CERTIFICATE.replace("/Simple", "/planted/../Simple"),
        f"https://{HOST}/?Action=planted",
        "file:///etc/planted.pem",
    ],
)
async def test_a_certificate_from_elsewhere_is_not_even_asked_for(sns: Amazon, url: str) -> None:
    assert await sent(gateway_of(sns), signed(message(SigningCertURL=url))) == 401
    assert (sns.asked, sns.dns.queries) == ([], [])


async def test_a_certificate_is_fetched_once_for_many(sns: Amazon) -> None:
    gateway = gateway_of(sns)
    bodies = [signed(message(MessageId=f"m-{number}")) for number in range(8)]
    assert await asyncio.gather(*(sent(gateway, body) for body in bodies)) == [202] * 8
    assert len(sns.asked) == 1


async def test_a_certificate_is_fetched_again_after_a_day_and_not_kept_if_it_is_none(sns: Amazon) -> None:
    certificates = Certificates(sns.outbound)
    for at, asked in ((0, 1), (86_000, 1), (86_500, 2)):
        await certificates.key(CERTIFICATE, HOST, now=NOW_S + at)
        assert len(sns.asked) == asked
    other = CERTIFICATE.replace("0123", "4567")
    for at, asked in ((0, 3), (59, 3), (61, 4)):
        assert await certificates.key(other, HOST, now=NOW_S + at) is None
        assert len(sns.asked) == asked


@pytest.mark.parametrize(
    "answer",
    [
        response(200, b"not a certificate"),
        response(200, certificate(at=NOW.replace(year=2024))),
        response(200, certificate(key=FOREIGN)),
        response(403),
    ],
    ids=["no certificate", "expired", "another key", "forbidden"],
)
async def test_a_certificate_that_proves_nothing_is_401(sns: Amazon, answer: bytes) -> None:
    sns.answers[CERTIFICATE_PATH] = answer
    assert await sent(gateway_of(sns), signed(message())) == 401


@pytest.mark.parametrize("answer", [response(500), response(503), response(429), b"nonsense\r\n\r\n"])
async def test_a_host_that_is_away_is_503_and_asked_again(sns: Amazon, answer: bytes) -> None:
    gateway = gateway_of(sns)
    good, sns.answers[CERTIFICATE_PATH] = sns.answers[CERTIFICATE_PATH], answer
    refused = await gateway.post("/webhooks/sns", signed(message()), TEXT)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "unavailable")
    assert "amazon" not in refused.text
    sns.answers[CERTIFICATE_PATH] = good
    assert await sent(gateway, signed(message())) == 202


async def test_a_name_that_leads_inside_is_never_dialled(tmp_path: Path) -> None:
    async with amazon(tmp_path, address="169.254.169.254") as inside:
        assert await sent(gateway_of(inside), signed(message())) == 503
        assert (inside.asked, inside.server.connections) == ([], 0)


async def test_a_host_that_leads_elsewhere_is_not_followed(sns: Amazon) -> None:
    sns.answers[CERTIFICATE_PATH] = response(302, b"", [("location", "https://planted.test/c.pem")])
    assert await sent(gateway_of(sns), signed(message())) == 503
    assert sns.dns.queries == [HOST]


# --- subscriptions ------------------------------------------------------------------------------------------------------


async def test_a_subscription_is_confirmed_and_leaves_no_record(sns: Amazon) -> None:
    gateway = gateway_of(sns)
    response_ = await gateway.post("/webhooks/sns", signed(message("SubscriptionConfirmation")), TEXT)
    assert (response_.status_code, response_.content) == (200, b"{}")
    assert sns.asked == [f"GET {CERTIFICATE_PATH}", f"GET {SUBSCRIBE.removeprefix(f'https://{HOST}')}"]
    assert gateway.publisher.sends == []


async def test_an_ended_subscription_is_not_made_again(sns: Amazon) -> None:
    gateway = gateway_of(sns)
    assert await sent(gateway, signed(message("UnsubscribeConfirmation"))) == 200
    assert (len(sns.asked), gateway.publisher.sends) == (1, [])


@pytest.mark.parametrize(
    "body",
    [
        signed(message("SubscriptionConfirmation"), FOREIGN),
        signed(message("SubscriptionConfirmation", TopicArn="arn:aws:sns:us-east-1:999999999999:theirs")),
        signed(message("SubscriptionConfirmation")).replace(b"ConfirmSubscription", b"DeleteTopic"),
    ],
    ids=["another key", "another topic", "another action"],
)
async def test_a_confirmation_is_verified_before_anything_is_called(sns: Amazon, body: bytes) -> None:
    assert await sent(gateway_of(sns), body) == 401
    assert not any("Action" in line for line in sns.asked)


@pytest.mark.parametrize(
    "url",
    [
        SUBSCRIBE.replace("https:", "http:"),
        SUBSCRIBE.replace(HOST, "planted.test"),
        SUBSCRIBE.replace(HOST, f"{HOST}.planted.test"),
        SUBSCRIBE.replace(HOST, "169.254.169.254"),
    ],
)
async def test_even_a_signed_confirmation_calls_nobody_else(sns: Amazon, url: str) -> None:
    assert await sent(gateway_of(sns), signed(message("SubscriptionConfirmation", SubscribeURL=url))) == 400
    assert (sns.asked, sns.dns.queries) == ([f"GET {CERTIFICATE_PATH}"], [HOST])


async def test_a_confirmation_that_fails_is_503_so_that_it_comes_again(sns: Amazon) -> None:
    sns.answers["/"] = response(500)
    assert await sent(gateway_of(sns), signed(message("SubscriptionConfirmation"))) == 503
