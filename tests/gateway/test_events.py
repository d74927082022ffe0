"""``POST /events``: the three CloudEvents modes and the envelope; a request is accepted whole or not at all."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from headrace.messages.errors import DependencyUnavailable
from headrace.messages.event import RawDelivery
from tests.gateway.support import Gateway, error_of

# The example event of the CloudEvents 1.0 JSON format, section 3.2
EXAMPLE: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "source": "/mycontext",
    "subject": None,
    "id": "C234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "datacontenttype": "application/json",
    "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": True},
}
# HTTP binding, section 3.1.4
BINARY = {
    "ce-specversion": "1.0",
    "ce-type": "com.example.someevent",
    "ce-time": "2018-04-05T03:56:24Z",
    "ce-id": "1234-1234-1234",
    "ce-source": "/mycontext/subcontext",
    "content-type": "application/json; charset=utf-8",
}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
PLAIN = {"content-type": "application/json"}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def records(gateway: Gateway) -> list[RawDelivery]:
    messages = [send.message for send in gateway.publisher.sends]
    assert all(isinstance(message, RawDelivery) for message in messages)
    return [message for message in messages if isinstance(message, RawDelivery)]


async def test_binary_mode(gateway: Gateway) -> None:
    body = b'{ "spaced": 1.0 }'
    response = await gateway.post("/events", body, BINARY | {"ce-partitionkey": "k1", "ce-tenant": "other"})
    assert response.status_code == 202
    assert response.json() == {"accepted": 1, "ids": ["1234-1234-1234"]}
    [record] = records(gateway)
    assert record.body == body
    assert record.record_key() == "k1"
    assert dict(record.headers) == {
        "ce_specversion": "1.0",
        "ce_type": "com.example.someevent",
        "ce_time": "2018-04-05T03:56:24Z",
        "ce_id": "1234-1234-1234",
        "ce_source": "/mycontext/subcontext",
        "ce_partitionkey": "k1",
        "ce_tenant": "acme",
        "content-type": "application/json; charset=utf-8",
    }


async def test_binary_mode_carries_any_data(gateway: Gateway) -> None:
    body = bytes(range(256))
    response = await gateway.post("/events", body, BINARY | {"content-type": "application/octet-stream"})
    assert response.status_code == 202
    assert records(gateway)[0].body == body


async def test_binary_mode_without_data(gateway: Gateway) -> None:
    assert (await gateway.post("/events", b"", BINARY)).status_code == 202
    assert "content-type" not in records(gateway)[0].headers


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),  # HTTP binding 3.1.3.2, its example
        ("%41", "A"),
        ("%2541", "%41"),  # decoded once
        ('"quoted \\"text\\""', 'quoted "text"'),
        ("100%", "100%"),
    ],
)
async def test_header_values_are_decoded_once(gateway: Gateway, header: str, value: str) -> None:
    response = await gateway.post("/events", b"{}", BINARY | {"ce-subject": header})
    assert response.status_code == 202
    assert records(gateway)[0].headers["ce_subject"] == value


@pytest.mark.parametrize("bad", [b"%C0%A0", b"%FF", b"%E2%82", b"\xe9", b"a%00b", b"a%1Fb"])
async def test_header_values_that_are_no_text_are_400(gateway: Gateway, bad: bytes) -> None:
    headers = {name: value.encode() for name, value in BINARY.items()} | {"ce-subject": bad}
    response = await gateway.post("/events", b"{}", headers)
    assert response.status_code == 400
    assert error_of(response)["where"] == "ce-subject"


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
async def test_a_required_attribute_is_named_when_it_is_missing(gateway: Gateway, name: str) -> None:
    binary = await gateway.post("/events", b"{}", {k: v for k, v in BINARY.items() if k != f"ce-{name}"})
    one = {k: v for k, v in EXAMPLE.items() if k != name}
    structured = await gateway.post("/events", orjson.dumps(one), STRUCTURED)
    batch = await gateway.post("/events", orjson.dumps([EXAMPLE, one]), BATCH)
    assert [r.status_code for r in (binary, structured, batch)] == [400, 400, 400]
    assert [error_of(r)["where"] for r in (binary, structured, batch)] == [f"ce-{name}", f"/{name}", f"/1/{name}"]
    assert gateway.publisher.sends == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("specversion", "1.1"),
        ("specversion", 1.0),
        ("id", ""),
        ("id", 7),
        ("id", "a\x1fb"),
        ("id", "x" * 513),
        ("source", ""),
        ("source", "/headrace/reasoning"),
        ("type", "dev.headrace.webhook.received"),
        ("type", "x" * 257),
        ("time", "yesterday"),
        ("time", "2018-04-05T17:31:00"),
        ("time", "2018-02-30T17:31:00Z"),
        ("subject", ""),
        ("subject", ["list"]),
        ("dataref", "cas://sha256:" + "0" * 64),
        ("Upper", "x"),
        ("with-dash", "x"),
        ("trailing\n", "x"),
        ("huge", 2**31),
        ("object", {}),
    ],
)
async def test_bad_attributes_are_named(gateway: Gateway, name: str, value: Any) -> None:
    response = await gateway.post("/events", orjson.dumps(EXAMPLE | {name: value}), STRUCTURED)
    assert response.status_code == 400
    assert error_of(response)["where"] == f"/{name}"
    assert gateway.publisher.sends == []


async def test_nobody_outside_can_speak_as_a_verified_webhook(gateway: Gateway) -> None:
    forged = BINARY | {"ce-type": "dev.headrace.webhook.received", "ce-source": "/webhooks/github"}
    response = await gateway.post("/events", b"{}", forged)
    assert response.status_code == 400
    assert error_of(response)["where"] == "ce-type"


async def test_a_claim_check_of_somebody_else_is_refused(gateway: Gateway) -> None:
    response = await gateway.post("/events", b"", BINARY | {"ce-dataref": "cas://sha256:" + "0" * 64})
    assert response.status_code == 400


@pytest.mark.parametrize("headers", [STRUCTURED, PLAIN])
async def test_structured_mode_keeps_the_events_own_bytes(gateway: Gateway, headers: dict[str, str]) -> None:
    body = orjson.dumps(EXAMPLE, option=orjson.OPT_INDENT_2)
    response = await gateway.post("/events", body, headers | {"ce-id": "ignored"} if headers is STRUCTURED else headers)
    assert response.json() == {"accepted": 1, "ids": ["C234-1234-1234"]}
    [record] = records(gateway)
    assert record.body == body
    assert dict(record.headers) == {"content-type": "application/cloudevents+json", "ce_tenant": "acme"}
    assert record.record_key() == "C234-1234-1234"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"data_base64": base64.b64encode(b"\x00\xff").decode()}, 202),
        ({"data_base64": "***"}, 400),
        ({"data_base64": 5}, 400),
        ({"data_base64": "AA==", "data": 1}, 400),
    ],
)
async def test_binary_data_in_structured_mode(gateway: Gateway, data: dict[str, Any], status: int) -> None:
    event = {k: v for k, v in EXAMPLE.items() if k != "data"} | data
    assert (await gateway.post("/events", orjson.dumps(event), STRUCTURED)).status_code == status


async def test_a_batch_is_one_publish_with_each_events_bytes(gateway: Gateway) -> None:
    first = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"],[ }, \xc3\xa9"}'
    second = b'{ "id" : "2", "specversion":"1.0",\n"source":"/s","type":"t","data":{"n":1.10}}'
    response = await gateway.post("/events", b" [\n" + first + b" ,\t" + second + b"\n] ", BATCH)
    assert response.json() == {"accepted": 2, "ids": ["1", "2"]}
    assert len(gateway.publisher.calls) == 1
    assert [record.body for record in records(gateway)] == [first, second]


async def test_a_batch_with_one_bad_event_leaves_nothing(gateway: Gateway) -> None:
    events = [EXAMPLE | {"id": str(n)} for n in range(10)]
    events[7] = events[7] | {"time": "never"}
    response = await gateway.post("/events", orjson.dumps(events), BATCH)
    assert response.status_code == 400
    assert error_of(response)["where"] == "/7/time"
    assert gateway.publisher.calls == []


async def test_batches_at_their_bounds() -> None:
    gateway = Gateway(gateway_max_batch=3)
    events = [EXAMPLE | {"id": str(n)} for n in range(4)]
    empty = await gateway.post("/events", b"[]", BATCH)
    full = await gateway.post("/events", orjson.dumps(events[:3]), BATCH)
    over = await gateway.post("/events", orjson.dumps(events), BATCH)
    single = await gateway.post("/events", orjson.dumps(EXAMPLE), BATCH)
    assert (empty.status_code, empty.json()) == (202, {"accepted": 0, "ids": []})
    assert [r.status_code for r in (full, over, single)] == [202, 413, 400]
    assert len(gateway.publisher.calls) == 1


async def test_the_plain_envelope(gateway: Gateway) -> None:
    body = b'{"source": "crm", "event_type": "lead.created", "payload": {"n": 1.0}, "id": "e-1"}'
    response = await gateway.post("/events", body, PLAIN)
    assert response.json() == {"accepted": 1, "ids": ["e-1"]}
    [record] = records(gateway)
    assert record.body == body
    assert dict(record.headers) == {"content-type": "application/json", "ce_tenant": "acme"}
    assert record.record_key() == "e-1"


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"event_type": "t", "payload": 1}, "/source"),
        ({"source": "s", "payload": 1}, "/event_type"),
        ({"source": "s", "event_type": "t"}, "/payload"),
        ({"source": "", "event_type": "t", "payload": 1}, "/source"),
        ({"source": "s", "event_type": "t", "payload": 1, "id": 5}, "/id"),
        ([], "/"),
        ("planted-text", "/"),
    ],
)
async def test_what_is_no_envelope_is_422_with_the_place(gateway: Gateway, value: Any, where: str) -> None:
    response = await gateway.post("/events", orjson.dumps(value), PLAIN)
    assert response.status_code == 422
    assert error_of(response)["where"] == where
    assert "planted" not in response.text


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/cloudevents+avro", ""]
)
async def test_other_formats_are_415(gateway: Gateway, content_type: str) -> None:
    response = await gateway.post("/events", b"{}", {"content-type": content_type} if content_type else {})
    assert response.status_code == 415


@pytest.mark.parametrize("headers", [BINARY, STRUCTURED, BATCH, PLAIN])
async def test_broken_json_is_400_in_each_mode(gateway: Gateway, headers: dict[str, str]) -> None:
    for body in (b'{"a":1,"a":2}', b"[" * 100_000, b'{"n":' + b"9" * 50 + b"}", b"{"):
        response = await gateway.post("/events", body, headers)
        assert response.status_code == 400
        assert error_of(response)["code"].startswith("json")


async def test_tokens() -> None:
    gateway = Gateway(events_token="one-planted, two-planted")
    answers = {}
    for given in ("Bearer one-planted", "bearer two-planted", "Bearer three", "Basic one-planted", "Bearer ", None):
        headers = STRUCTURED | ({"authorization": given} if given else {})
        response = await gateway.post("/events", orjson.dumps(EXAMPLE), headers)
        answers[given] = response.status_code
        if response.status_code == 401:
            assert response.headers["www-authenticate"].startswith("Bearer")
    assert list(answers.values()) == [202, 202, 401, 401, 401, 401]


async def test_kafka_away_leaves_none_of_a_batch(gateway: Gateway) -> None:
    gateway.publisher.fail = DependencyUnavailable("away")
    response = await gateway.post("/events", orjson.dumps([EXAMPLE, EXAMPLE | {"id": "2"}]), BATCH)
    assert response.status_code == 503
    assert "retry-after" in response.headers
