"""What ingest would make of a file: its events, and for each agent whether one of them would trigger it, and why not.

A file is JSON or JSON lines; each document is one of these, told apart by what is in it:

    a canonical event                           as ``ingest.events`` has it
    {"webhook": NAME, "headers", "body"}        what a sender posted to ``/webhooks/NAME``
    a record as ``kcat -J`` prints it           of ``ingest.raw`` or ``ingest.events``
    an envelope, a CloudEvent, a list of those  as one posts it to ``/events``

Nothing is claimed, written or asked: what is a duplicate or was seen before shows as an event all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from headrace.ingest.normalise.delivery import to_event
from headrace.ingest.normalise.dispatch import normalise
from headrace.ingest.normalise.forms import open_delivery
from headrace.messages.agent import AgentDefinition
from headrace.messages.codec import explained
from headrace.messages.errors import BadMessage, RejectedMessage, UndecodableMessage
from headrace.messages.event import HTTP_HEADERS, WEBHOOK_TYPE, Event, RawDelivery
from headrace.messages.strict_json import loads
from headrace.registry.triggers import Miss, miss
from headrace.runtime.api import Context, Source

_CANONICAL: Final = frozenset({"uid", "partition_key", "origin"})


class Found(NamedTuple):
    """A document of the file: its events, or why ingest would dead-letter it."""

    number: int
    events: list[Event]
    error: BadMessage | None = None


class Verdict(NamedTuple):
    """Whether an agent would run on an event; the trigger that fires, or that came closest, and why it does not."""

    agent: AgentDefinition
    fires: bool
    trigger: str
    why: str


def documents(text: bytes) -> list[bytes]:
    """The documents of a file: all of it if it is one JSON value, else a line each, empty ones left out."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        loads(text)
    except UndecodableMessage:
        if len(lines) > 1:
            return lines
    return [text]


def events_of(document: bytes, number: int, *, tenant: str, now_ms: int) -> Found:
    """What ingest would make of the ``number``-th document, taken as written at ``now_ms`` where it does not say."""
    try:
        return Found(number, list(_events(loads(document), number, tenant, now_ms)))
    except BadMessage as error:
        return Found(number, [], error)


def verdicts(event: Event, agents: Iterable[AgentDefinition]) -> list[Verdict]:
    """One for each of ``agents``, in their order."""
    return [_verdict(event, agent) for agent in agents]


def _verdict(event: Event, agent: AgentDefinition) -> Verdict:
    closest, trigger_type = Miss(-1, "it has no triggers"), ""
    for trigger in agent.triggers:
        found = miss(event, trigger)
        if found is None:
            return Verdict(agent, True, trigger.type, "")
        if found.got > closest.got:
            closest, trigger_type = found, trigger.type
    if closest.got == 0:  # none is closer than another
        return Verdict(agent, False, "", f"no trigger is for the type {event.type}")
    return Verdict(agent, False, trigger_type, closest.why)


def _events(value: Any, number: int, tenant: str, now_ms: int) -> Iterator[Event]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and item.keys() >= _CANONICAL:
            yield _canonical(item)
        else:
            yield from _made(item, number, tenant, now_ms)


def _made(value: Any, number: int, tenant: str, now_ms: int) -> Iterator[Event]:
    record, source, written_ms = _record(value, number, now_ms)
    if isinstance(record, Event):
        yield record
        return
    delivery = open_delivery(record, Context(source, {}, written_ms), tenant)
    for index, draft in enumerate(normalise(delivery)):
        yield to_event(draft, delivery, index)


def _record(value: Any, number: int, now_ms: int) -> tuple[RawDelivery | Event, Source, int]:
    here = Source("file", 0, number)
    if isinstance(value, dict) and "webhook" in value:
        return _webhook(value), here, now_ms
    if isinstance(value, dict) and value.keys() >= {"topic", "payload"}:
        source = Source(str(value["topic"]), _whole(value, "partition"), _whole(value, "offset"))
        return _printed(value), source, _whole(value, "ts") or now_ms
    return RawDelivery(body=orjson.dumps(value)), here, now_ms


def _webhook(value: dict[str, Any]) -> RawDelivery:
    headers = value.get("headers", {})
    if not isinstance(headers, dict) or not isinstance(value["webhook"], str):
        raise RejectedMessage("webhook is a name, headers are an object", cause="file", where="/webhook")
    http = {str(name).lower(): str(text) for name, text in headers.items()}
    body = value.get("body")
    record = {
        "ce_type": WEBHOOK_TYPE,
        "ce_source": f"/webhooks/{value['webhook']}",
        "content-type": http.get("content-type", "application/json"),
        HTTP_HEADERS: orjson.dumps(http).decode(),
    }
    return RawDelivery(body=body.encode() if isinstance(body, str) else orjson.dumps(body), headers=record)


def _printed(value: dict[str, Any]) -> RawDelivery | Event:
    """A record as kcat prints it: ``headers`` is a flat list of names and values in turn, ``payload`` the value as text."""
    payload, flat = value["payload"], value.get("headers") or []
    if not isinstance(payload, str) or not isinstance(flat, list):
        raise RejectedMessage("payload is text, headers are a list", cause="file", where="/payload")
    headers: Mapping[str, str] = dict(zip(map(str, flat[::2]), map(str, flat[1::2]), strict=False))
    if str(value["topic"]).endswith(Event.TOPIC):
        return _canonical(loads(payload.encode()))
    return RawDelivery(body=payload.encode(), headers=headers)


def _canonical(value: Any) -> Event:
    try:
        return Event.checked(value)
    except msgspec.ValidationError as error:
        text, where = explained(error)
        raise RejectedMessage(f"canonical event: {text}", cause="event", where=where) from None


def _whole(value: dict[str, Any], key: str) -> int:
    found = value.get(key, 0)
    return found if type(found) is int and found >= 0 else 0
