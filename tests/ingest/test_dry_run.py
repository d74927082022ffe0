"""The forms of a file that is tried out: each gives the events that ingest would make of the same thing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ingest.dry_run import documents, events_of, verdicts
from headrace.messages.agent import Trigger
from headrace.messages.event import Event
from tests.ingest.records import agent, at, events, github, plain, processor

PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "acme/shop"}, "sender": {"login": "dana"}}
ENVELOPE = {"source": "crm", "event_type": "customer.updated", "id": "e-1", "payload": {"a": 1}}
NOW = 1_772_449_200_000


def found(document: Any) -> list[Event]:
    one = events_of(orjson.dumps(document), 1, tenant="default", now_ms=NOW)
    assert one.error is None, one.error
    return one.events


async def test_each_form_is_what_ingest_makes_of_it() -> None:
    (envelope,) = events(await processor().handle(plain(ENVELOPE), at(17)))
    kcat = {
        "topic": "staging.ingest.raw",
        "partition": 0,
        "offset": 17,
        "ts": NOW,
        "headers": [],
        "payload": _text(ENVELOPE),
    }
    (push,) = events(await processor().handle(github("push", PUSH), at()))
    named = {"x-github-event": "push"}

    assert [one.uid for one in found(ENVELOPE)] == [envelope.uid]
    assert found(kcat)[0].plain() | {"origin": None} == envelope.plain() | {"origin": None}
    assert found(kcat)[0].origin.offset == 17
    assert found(envelope.plain()) == [envelope]
    assert found({"topic": "ingest.events", "payload": _text(envelope.plain())}) == [envelope]
    for body in (PUSH, _text(PUSH)):
        (webhook,) = found({"webhook": "github", "headers": {"X-GitHub-Event": "push"}, "body": body})
        assert (webhook.type, webhook.source, webhook.data) == (push.type, push.source, push.data)
    record = github("push", PUSH)
    flat = [text for pair in record.headers.items() for text in pair]
    printed = {"topic": "ingest.raw", "partition": 0, "offset": 0, "ts": NOW, "headers": flat, "payload": _text(PUSH)}
    assert found(printed)[0].uid == push.uid
    assert found([ENVELOPE, {"webhook": "github", "headers": named, "body": PUSH}])[1].type == "com.github.push"


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ({"webhook": 1}, "file"),
        ({"webhook": "github", "headers": []}, "file"),
        ({"topic": "ingest.raw", "payload": 1}, "file"),
        ({"topic": "ingest.events", "payload": "{}"}, "event"),
        ({"uid": 1, "partition_key": "k", "origin": {}}, "event"),
        ({"webhook": "github", "body": {}}, "github_event"),
        (5, "envelope"),
        ([[]], "envelope"),
    ],
)
def test_what_can_not_be_understood(document: Any, cause: str) -> None:
    one = events_of(orjson.dumps(document), 1, tenant="default", now_ms=NOW)
    assert one.error is not None
    assert (one.events, one.error.cause) == ([], cause)


def test_documents() -> None:
    assert documents(b'{"a": 1}\n\n{"a": 2}\n') == [b'{"a": 1}', b'{"a": 2}']
    pretty = orjson.dumps([ENVELOPE, PUSH], option=orjson.OPT_INDENT_2)
    assert documents(pretty) == [pretty]
    assert documents(b'{"a": ') == [b'{"a": ']


def test_an_agent_says_which_trigger_came_closest() -> None:
    (event,) = found(ENVELOPE)
    agents = [
        agent("none"),
        agent("other-type", Trigger(type="x")),
        agent("closest", Trigger(type="x"), Trigger(type="customer.*", filter="data.b"), Trigger(type="*", source="x")),
        agent("second", Trigger(type="x"), Trigger(type="customer.updated")),
    ]
    assert [(v.agent.name, v.fires, v.trigger, v.why) for v in verdicts(event, agents)] == [
        ("none", False, "", "it has no triggers"),
        ("other-type", False, "", "no trigger is for the type customer.updated"),
        ("closest", False, "customer.*", "filter data.b is false"),
        ("second", True, "customer.updated", ""),
    ]


JSON = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["webhook", "headers", "body", "topic", "payload", "uid", "partition_key", "origin", "source"]
            ),
            inner,
        )
    ),
)


@given(JSON)
def test_any_document_is_events_or_an_error(value: Any) -> None:
    one = events_of(orjson.dumps(value), 1, tenant="default", now_ms=NOW)
    assert one.error is not None or one.events or value == []


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
