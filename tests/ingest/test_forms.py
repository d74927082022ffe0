"""Alertmanager, CloudEvents, envelopes and unknown senders; the bounds on names that hold for all of them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ingest.normalise.times import from_millis, rfc3339
from headrace.messages.errors import BadMessage
from headrace.messages.event import Event, RawDelivery
from tests.ingest.records import RECEIVED, at, events, plain, processor, webhook

CE = {"specversion": "1.0", "id": "1", "source": "https://s.example", "type": "org.example.t"}
ALERT = {
    "status": "firing",
    "labels": {"alertname": "Down", "severity": "critical"},
    "annotations": {"summary": "it is down"},
    "startsAt": "2026-03-02T10:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "https://prometheus.example/graph",
    "fingerprint": "00ff",
}
GROUP = {"version": "4", "groupKey": "{}:{x}", "receiver": "r", "status": "firing", "externalURL": "https://am.example"}


async def one(record: RawDelivery) -> Event:
    (event,) = events(await processor().handle(record, at(4)))
    return event


# --- Alertmanager ---------------------------------------------------------------------------------------------------


async def test_an_alert() -> None:
    event = await one(webhook("alertmanager", {**GROUP, "alerts": [ALERT]}))
    state = "https://am.example|{}:{x}|00ff|firing|2026-03-02T10:00:00Z|0001-01-01T00:00:00Z"
    assert event.id == sha256(state.encode()).hexdigest()
    assert (event.type, event.source) == ("io.prometheus.alertmanager.alert.firing", "https://am.example")
    assert (event.partition_key, event.subject, event.severity) == ("00ff", "Down", "critical")
    assert (event.time, event.url) == ("2026-03-02T10:00:00Z", ALERT["generatorURL"])
    assert event.data == {**ALERT, "group": {key: value for key, value in GROUP.items() if key != "version"}}


async def test_a_resolved_alert_is_another_event_of_the_same_key() -> None:
    ended = {**ALERT, "status": "resolved", "endsAt": "2026-03-02T10:30:00Z"}
    sends = await processor().handle(webhook("alertmanager", {**GROUP, "alerts": [ALERT, ended]}), at())
    firing, resolved = events(sends)
    assert resolved.type == "io.prometheus.alertmanager.alert.resolved"
    assert resolved.time == "2026-03-02T10:30:00Z"
    assert resolved.partition_key == firing.partition_key
    assert resolved.id != firing.id
    assert [firing.origin.index, resolved.origin.index] == [0, 1]


async def test_an_alert_listed_twice_is_one_event() -> None:
    sends = await processor().handle(webhook("alertmanager", {**GROUP, "alerts": [ALERT, ALERT]}), at())
    assert len(events(sends)) == 1


async def test_an_alert_without_a_fingerprint_is_known_by_its_labels() -> None:
    old = {key: value for key, value in ALERT.items() if key != "fingerprint"}
    turned = {**old, "labels": dict(reversed(ALERT["labels"].items()))}  # type: ignore[attr-defined]
    one_, other = [await one(webhook("alertmanager", {**GROUP, "alerts": [alert]})) for alert in (old, turned)]
    assert one_.id == other.id
    assert len(one_.partition_key) == 16


async def test_an_alert_in_a_changed_group_keeps_its_id() -> None:
    alone = await one(webhook("alertmanager", {**GROUP, "alerts": [ALERT]}))
    second = {**ALERT, "fingerprint": "11aa"}
    both = events(await processor().handle(webhook("alertmanager", {**GROUP, "alerts": [second, ALERT]}), at()))
    assert alone.uid in {event.uid for event in both}


# --- CloudEvents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False], ids=["by content type", "by content"])
async def test_structured_mode(named: bool) -> None:
    headers = {"content-type": "application/cloudevents+json; charset=utf-8"} if named else {}
    value = {**CE, "subject": "s1", "time": "2026-03-02T12:00:00+02:00", "partitionkey": "k", "data": {"a": [1]}}
    event = await one(plain(value, **headers))
    assert (event.id, event.source, event.type, event.subject) == ("1", "https://s.example", "org.example.t", "s1")
    assert (event.time, event.partition_key, event.data) == ("2026-03-02T10:00:00Z", "k", {"a": [1]})
    assert event.origin.kind == "cloudevent"


async def test_binary_mode() -> None:
    headers = {f"ce_{key}": value for key, value in CE.items()}
    event = await one(plain({"a": 1}, **headers, ce_subject="x", **{"content-type": "application/json"}))
    assert (event.id, event.subject, event.data) == ("1", "x", {"a": 1})
    assert event.time == from_millis(at().timestamp_ms)
    assert event.partition_key == "https://s.example#x"


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b"", None),
        ("", b"[1]", [1]),
        ("application/vnd.acme+json", b"[1]", [1]),
        ("text/plain; charset=utf-8", "grün".encode(), "grün"),
        ("text/plain", b"\xff", {"data_base64": "/w=="}),
        ("application/octet-stream", b"\x00\x01", {"data_base64": "AAE="}),
    ],
)
async def test_data_by_content_type(content_type: str, body: bytes, data: Any) -> None:
    headers = {f"ce_{key}": value for key, value in CE.items()} | {"content-type": content_type}
    assert (await one(RawDelivery(body=body, headers=headers))).data == data


async def test_structured_base64_data() -> None:
    assert (await one(plain({**CE, "data_base64": "WzFd", "datacontenttype": "application/json"}))).data == [1]
    assert (await one(plain({**CE, "data_base64": "WzFd"}))).data == {"data_base64": "WzFd"}


async def test_null_optional_attributes_count_as_absent() -> None:
    event = await one(plain({**CE, "subject": None, "time": None, "datacontenttype": None}))
    assert event.subject is None


# --- envelopes and unknown senders --------------------------------------------------------------------------------


async def test_an_envelope() -> None:
    value = {"source": "crm", "event_type": "customer.updated", "payload": {"a": 1}, "subject": "c-1", "id": "e-1"}
    event = await one(plain(value))
    assert (event.id, event.source, event.type, event.subject) == ("e-1", "crm", "customer.updated", "c-1")
    assert (event.data, event.partition_key) == ({"a": 1}, "crm#c-1")
    assert event.time == from_millis(at().timestamp_ms)
    chosen = await one(plain({**value, "partition_key": "p", "time": "2026-03-02T10:00:00.5Z"}))
    assert (chosen.partition_key, chosen.time) == ("p", "2026-03-02T10:00:00.500000Z")


async def test_an_unknown_sender_passes_through() -> None:
    event = await one(webhook("pager", {"a": 1}))
    assert (event.type, event.source, event.id) == ("webhook.pager", "/webhooks/pager", "d-1")
    assert (event.data, event.time) == ({"a": 1}, RECEIVED)
    text = await one(webhook("pager", b"up", **{"content-type": "text/plain"}))
    assert text.data == "up"


# --- names ----------------------------------------------------------------------------------------------------------

CONTROL = st.sampled_from([chr(code) for code in [*range(32), *range(127, 160)]])


@given(
    before=st.text(max_size=3),
    control=CONTROL,
    after=st.text(max_size=3),
    field=st.sampled_from(["id", "source", "type"]),
)
async def test_no_control_character_gets_into_a_name(before: str, control: str, after: str, field: str) -> None:
    with pytest.raises(BadMessage):
        await processor().handle(plain({**CE, field: f"{before}{control}{after}"}), at())


NAME = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@given(first=st.tuples(NAME, NAME, NAME), second=st.tuples(NAME, NAME, NAME))
async def test_uids_are_equal_only_for_the_same_tenant_source_and_id(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    uids = []
    for tenant, source, id_ in (first, second):
        event = {**CE, "source": source, "id": id_}
        uids.append((await one(plain(event, ce_tenant=tenant))).uid)
    assert (uids[0] == uids[1]) == (first == second)


@given(key=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=513, max_size=1500))
async def test_a_long_key_is_bounded_and_stays_distinct(key: str) -> None:
    one_, other = [await one(plain({**CE, "partitionkey": value})) for value in (key, key + "x")]
    assert len(one_.partition_key) <= 512
    assert one_.partition_key != other.partition_key


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-02T10:00:00Z", "2026-03-02T10:00:00Z"),
        ("2026-03-02t10:00:00z", "2026-03-02T10:00:00Z"),
        ("2021-08-19T12:16:32.000-04:00", "2021-08-19T16:16:32Z"),
        ("2026-03-02T10:00:00.123456789Z", "2026-03-02T10:00:00.123456Z"),
        ("2026-03-02T10:00:00.5+00:00", "2026-03-02T10:00:00.500000Z"),
        (1772445600, "2026-03-02T10:00:00Z"),
        ("0001-01-01T00:00:00Z", None),
        ("2026-03-02", None),
        ("2026-03-02T10:00:00", None),
        ("2026-02-30T10:00:00Z", None),
        ("٢٠٢٦-03-02T10:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        (1e300, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_times(value: Any, expected: str | None) -> None:
    assert rfc3339(value) == expected


@given(st.one_of(st.text(), st.floats(), st.integers(), st.datetimes().map(lambda moment: moment.isoformat() + "Z")))
def test_a_time_is_canonical_or_none(value: Any) -> None:
    result = rfc3339(value)
    assert result is None or rfc3339(result) == result
