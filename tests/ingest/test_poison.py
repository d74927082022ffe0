"""What can't be understood is a BadMessage with a cause and a place, never another error, and nothing of it gets out."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ingest.normalise.dispatch import SENDERS
from headrace.messages.errors import BadMessage
from headrace.messages.event import RawDelivery
from tests.ingest.records import at, github, plain, processor, webhook
from tests.ingest.test_senders import CASES, delivery

CE = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
BINARY = {f"ce_{key}": value for key, value in CE.items()}
ENVELOPE = {"source": "s", "event_type": "t", "payload": 1}
FORM = {"content-type": "application/x-www-form-urlencoded"}
CE_BATCH = {"content-type": "application/cloudevents-batch+json"}
FIRING = {"status": "firing", "fingerprint": "f"}

POISON = {
    "empty record": (plain(b""), "empty_body", "byte 0"),
    "not JSON": (plain(b"hello"), "json", "byte 0"),
    "cut JSON": (github("push", b'{"a": 1'), "json", "byte 7"),
    "duplicate key": (github("push", b'{"a":1,"a":2}'), "json_duplicate_key", "key 'a'"),
    "depth bomb": (github("push", b"[" * 100_000), "json_depth", "byte 64"),
    "huge number": (plain(b'{"source":"s","event_type":"t","payload":1e999}'), "json_number", "number 1e999"),
    "not UTF-8": (github("push", b'{"a":"\xff"}'), "json_encoding", "byte 6"),
    "webhook with an empty body": (webhook("github", b"", http={"x-github-event": "push"}), "json", "byte 0"),
    "unknown sender with an empty body": (webhook("acme", b""), "empty_body", "byte 0"),
    "github without an event name": (webhook("github", {}), "github_event", "header x-github-event"),
    "github with a strange event name": (github("../push", {}), "github_event", "header x-github-event"),
    "github with a list": (github("push", []), "github_body", "/"),
    "alertmanager without alerts": (webhook("alertmanager", {"alerts": []}), "alertmanager_body", "/alerts"),
    "alertmanager with a list": (webhook("alertmanager", [1]), "alertmanager_body", "/alerts"),
    "an alert that is no object": (webhook("alertmanager", {"alerts": [1]}), "alertmanager_body", "/alerts/0/status"),
    "an alert without a name": (
        webhook("alertmanager", {"alerts": [FIRING, {"status": "firing"}]}),
        "alertmanager_body",
        "/alerts/1/labels",
    ),
    "grafana with a list": (webhook("grafana", []), "grafana_body", "/"),
    "grafana without alerts": (webhook("grafana", {"alerts": []}), "grafana_body", "/alerts"),
    "a grafana alert without a state": (webhook("grafana", {"alerts": [{}]}), "grafana_body", "/alerts/0/status"),
    "gitlab without an event name": (webhook("gitlab", {}), "gitlab_event", "/object_kind"),
    "gitlab with a strange event name": (webhook("gitlab", {"object_kind": "../x"}), "gitlab_event", "/object_kind"),
    "jira with a number for an event name": (webhook("jira", {"webhookEvent": [1]}), "jira_event", "/webhookEvent"),
    "shopify without a topic": (webhook("shopify", {"id": 1}), "shopify_event", "header x-shopify-topic"),
    "eventgrid with an empty batch": (webhook("eventgrid", []), "eventgrid_body", "/"),
    "eventgrid with a number in a batch": (webhook("eventgrid", [{"eventType": "t"}, 1]), "eventgrid_body", "/1"),
    "eventgrid with a batch in a batch": (webhook("eventgrid", [[]]), "eventgrid_body", "/0"),
    "eventgrid with an event without a type": (
        webhook("eventgrid", [{"eventType": "t"}, {}]),
        "eventgrid_event",
        "/1/eventType",
    ),
    "a batch from a sender of single events": (webhook("stripe", [{"type": "t"}]), "stripe_body", "/"),
    "a form with a field twice": (webhook("slack", b"type=a&type=b", **FORM), "form", "/"),
    "a form that is no UTF-8": (webhook("slack", b"type=%ff", **FORM), "form", "/"),
    "a form without fields": (webhook("slack", b"", **FORM), "form", "/"),
    "a form of a thousand fields and one": (webhook("slack", b"&a=1" * 1_001, **FORM), "form", "/"),
    "a form with a payload that is not JSON": (webhook("slack", b"payload=x", **FORM), "json", "byte 0"),
    "a form from a sender of JSON": (webhook("jira", b"webhookEvent=x", **FORM), "json", "byte 0"),
    "cloudevents in an empty batch": (webhook("cloudevents", [], **CE_BATCH), "cloudevent", "/"),
    "two cloudevents of one name": (
        webhook("cloudevents", [{**CE, "data": 1}, {**CE, "data": 2}], **CE_BATCH),
        "cloudevent",
        "/1/id",
    ),
    "a sender with a type of the mesh's own": (
        webhook("standard-webhooks", {"type": "dev.headrace.agent.job"}),
        "reserved",
        "/source or /type",
    ),
    "a sender that calls itself the mesh": (
        webhook("eventgrid", [{"eventType": "t", "topic": "/headrace/ingest"}]),
        "reserved",
        "/source or /type",
    ),
    "http-headers not JSON": (webhook("github", {}, **{"http-headers": "x"}), "json", "byte 0"),
    "http-headers not text": (
        webhook("github", {}, **{"http-headers": '{"a": 1}'}),
        "http_headers",
        "header http-headers",
    ),
    "webhook without a source": (
        RawDelivery(body=b"{}", headers={"ce_type": "dev.headrace.webhook.received"}),
        "empty_name",
        "/header ce_source",
    ),
    "a sender's name with a path": (webhook("../x y", {}), "webhook_source", "header ce_source"),
    "delivery id with a control character": (
        github("push", {}, delivery_id="a\x1fb"),
        "control_character",
        "/header ce_id",
    ),
    "delivery id too long": (github("push", {}, delivery_id="x" * 513), "too_long", "/header ce_id"),
    "tenant too long": (github("push", {}, ce_tenant="t" * 129), "too_long", "/header ce_tenant"),
    "envelope without a payload": (plain({"source": "s", "event_type": "t"}), "envelope", "/payload"),
    "envelope without a source": (plain({"event_type": "t", "payload": 1}), "envelope", "/source"),
    "envelope with a bad time": (plain({**ENVELOPE, "time": "yesterday"}), "envelope", "/time"),
    "envelope with a list": (plain([ENVELOPE]), "envelope", "/"),
    "envelope with a control character": (plain({**ENVELOPE, "id": "a\u0000"}), "control_character", "/id"),
    "cloudevent without an id": (plain({"specversion": "1.0", "source": "s", "type": "t"}), "cloudevent", "/id"),
    "cloudevent of another version": (plain({**CE, "specversion": "0.3"}), "cloudevent", "/specversion"),
    "cloudevent with a bad time": (plain({**CE, "time": "2026-13-01T00:00:00Z"}), "cloudevent", "/time"),
    "cloudevent with a number for a time": (plain({**CE, "time": 5}), "cloudevent", "/time"),
    "cloudevent with a bad attribute": (plain({**CE, "Ext_1": "x"}), "cloudevent", "/Ext_1"),
    "cloudevent with a number for an id": (plain({**CE, "id": 5}), "cloudevent", "/id"),
    "cloudevent with two kinds of data": (
        plain({**CE, "data": 1, "data_base64": "AA=="}),
        "cloudevent",
        "/data_base64",
    ),
    "cloudevent with bad base64": (plain({**CE, "data_base64": "§"}), "cloudevent", "/data_base64"),
    "cloudevent with a list for base64": (plain({**CE, "data_base64": [1]}), "cloudevent", "/data_base64"),
    "binary cloudevent without a type": (plain(b"{}", ce_specversion="1.0", ce_id="1"), "cloudevent", "/source"),
    "binary cloudevent with broken data": (plain(b"{", **BINARY), "json", "byte 1"),
    "binary cloudevent with an id too long": (plain(b"{}", **{**BINARY, "ce_id": "x" * 513}), "too_long", "/id"),
    "cloudevents in a batch": (
        plain([CE], **{"content-type": "application/cloudevents-batch+json"}),
        "content_type",
        "header content-type",
    ),
    "structured cloudevent that is a list": (
        plain([CE], **{"content-type": "application/cloudevents+json"}),
        "cloudevent",
        "/",
    ),
}


@pytest.mark.parametrize("name", POISON)
async def test_poison_has_a_cause_and_a_place(name: str) -> None:
    record, cause, where = POISON[name]
    with pytest.raises(BadMessage) as caught:
        await processor().handle(record, at())
    assert (caught.value.cause, caught.value.where) == (cause, where)


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.floats(allow_nan=False, width=16)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
NAMES = [
    *("action", "alert", "alerts", "data", "data_base64", "endsAt", "event_type", "externalURL", "groupKey", "id"),
    *("installation", "issue", "labels", "number", "organization", "payload", "pull_request", "ref", "repository"),
    *("sender", "source", "specversion", "startsAt", "status", "subject", "time", "type", "fingerprint", "full_name"),
    *("html_url", "login", "updated_at", "partition_key", "partitionkey", "tenant", "datacontenttype"),
]
SHAPED = st.recursive(
    SCALARS | st.sampled_from(["1.0", "firing", "2026-03-02T10:00:00Z", "application/json"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)
EVENTS = st.sampled_from(["push", "issues", "pull_request", "check_run", "dependabot_alert", "installation", "fork"])
FORMS = st.sampled_from(["plain", "structured", "binary"])
SENDER = st.sampled_from([source.rpartition("/")[2] for source in SENDERS] + ["acme"])
CONTENT_TYPES = st.sampled_from(["application/json", *FORM.values(), *CE_BATCH.values(), "text/plain"])


async def _is_an_event_or_bad(record: RawDelivery) -> None:
    try:
        first = await processor().handle(record, at())
    except BadMessage:
        return
    assert first == await processor().handle(record, at())
    for send in first:
        assert send.message.message_id()
        assert send.message.record_key()
        assert msgspec.json.encode(send.message)


@given(form=FORMS, value=JSON | SHAPED)
async def test_any_json_is_an_event_or_a_bad_message(form: str, value: object) -> None:
    headers = {"structured": {"content-type": "application/cloudevents+json"}, "binary": BINARY}.get(form, {})
    await _is_an_event_or_bad(plain(orjson.dumps(value), **headers))


@given(sender=SENDER, event=EVENTS, content_type=CONTENT_TYPES, value=JSON | SHAPED)
async def test_any_json_of_any_sender_is_an_event_or_a_bad_message(
    sender: str, event: str, content_type: str, value: object
) -> None:
    http = {"x-github-event": event, "x-event-key": event, "x-shopify-topic": event, "ce-specversion": "1.0"}
    await _is_an_event_or_bad(webhook(sender, value, http=http, **{"content-type": content_type}))


@given(sample=st.sampled_from(CASES), place=st.integers(0, 99), value=JSON | st.just("x" * 3_000))
async def test_a_real_delivery_with_something_else_in_it(sample: Any, place: int, value: object) -> None:
    sender, written = sample.values
    changed = copy.deepcopy(written)
    if "body" in changed:
        changed["body"] = _with(changed["body"], place, value)
    await _is_an_event_or_bad(delivery(sender, changed))


@given(sender=SENDER, body=st.binary(max_size=40), content_type=CONTENT_TYPES)
async def test_any_bytes_of_any_sender(sender: str, body: bytes, content_type: str) -> None:
    await _is_an_event_or_bad(webhook(sender, body, **{"content-type": content_type}))


def _with(body: Any, place: int, value: object) -> Any:
    """``body`` with the ``place``-th of its values, however deep, replaced."""
    places: list[tuple[Any, Any]] = []
    level = [body]
    for container in level:
        for key, inner in container.items() if isinstance(container, dict) else enumerate(container):
            places.append((container, key))
            if isinstance(inner, dict | list):
                level.append(inner)
    container, key = places[place % len(places)]
    container[key] = value
    return body
