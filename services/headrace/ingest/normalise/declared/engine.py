"""From a delivery to events by a sender's rules.

A plan is what the rules say of one kind of event, compiled: each field a few functions that read the body. Plans are made when a
kind is first met and kept, so that a delivery costs a walk over the fields and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from headrace.ingest.normalise.declared.rules import FIELDS, Fields, Rules, values
from headrace.ingest.normalise.declared.urlencoded import decode_form, is_form
from headrace.ingest.normalise.declared.values import BadValue, Json, Text, first, first_time, place, raw, text
from headrace.ingest.normalise.delivery import Delivery, Draft
from headrace.messages.canonical import canonical_json
from headrace.messages.errors import FatalError, RejectedMessage, UndecodableMessage
from headrace.messages.json_check import check

_PLANS: Final = 512  # kinds of events remembered for a sender; a kind more is compiled again when it comes


class _Plan(NamedTuple):
    id: Text
    source: Text
    type: Text
    subject: Text
    time: Text
    actor: Text
    url: Text
    severity: Text
    partition_key: Text


class Sender:
    """The normaliser of one sender: ``sender(delivery)`` gives its drafts.

    Raises:
        FatalError: on making it, the rules name what there is not.
        RejectedMessage, UndecodableMessage: on calling it, the delivery says nothing that the rules know.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._plan = lru_cache(_PLANS)(self._compiled)
        try:
            self._event = first([text(value, "event") for value in values(rules.event)]) if rules.event else None
            for event in ("", *rules.events):
                self._plan(event)
        except BadValue as error:
            raise FatalError(f"rules of the sender {rules.name}: {error}") from error

    def __call__(self, delivery: Delivery) -> list[Draft]:
        body = self._body(delivery)
        if type(body) is list and self._rules.batch:
            return self._batch(delivery, body)
        if type(body) is not dict:
            raise self._rejected("body", "the body is not an object", "/")
        return [self._draft(delivery, body, delivery.fallback_id())]

    def _batch(self, delivery: Delivery, items: list[Any]) -> list[Draft]:
        """Each item an event, the same one once. An item that names no id has its place in the delivery for one."""
        if not items:
            raise self._rejected("body", "an empty batch", "/")
        drafts: dict[tuple[str, str], Draft] = {}
        for index, item in enumerate(items):
            if type(item) is not dict:
                raise self._rejected("body", "not an object", f"/{index}")
            draft = self._draft(delivery, item, f"{delivery.fallback_id()}/{index}", f"/{index}")
            known = drafts.setdefault((draft.source, draft.id), draft)
            if known.data != draft.data:  # one name for two events: the second gets a name that its content tells
                own = sha256(canonical_json(item)).hexdigest()[:16]
                draft = msgspec.structs.replace(draft, id=f"{draft.id}~{own}")
                drafts.setdefault((draft.source, draft.id), draft)
        return list(drafts.values())

    def _draft(self, delivery: Delivery, body: Json, fallback_id: str, at: str = "") -> Draft:
        headers = delivery.http_headers
        plan = self._plan(self._event(body, headers) or self._nameless(at) if self._event else "")
        type_ = plan.type(body, headers)
        if type_ is None:
            raise self._rejected("event", "no type of event", place(values(self._rules.type)[0], at))
        return Draft(
            id=plan.id(body, headers) or fallback_id,
            source=plan.source(body, headers) or delivery.source,
            type=type_,
            time=plan.time(body, headers) or delivery.received,
            data=self._data(body),
            subject=plan.subject(body, headers),
            partition_key=plan.partition_key(body, headers),
            actor=plan.actor(body, headers),
            url=plan.url(body, headers),
            severity=plan.severity(body, headers),
        )

    def _nameless(self, at: str) -> NoReturn:
        raise self._rejected("event", "no valid event name", place(values(self._rules.event)[0], at))

    def _body(self, delivery: Delivery) -> Any:
        if self._rules.form and is_form(delivery.content_type):
            return decode_form(delivery.body)
        return delivery.json()

    def _data(self, body: Json) -> Json:
        rules = self._rules
        if rules.without and not body.keys().isdisjoint(rules.without):
            body = {key: value for key, value in body.items() if key not in rules.without}
        if rules.embedded and type(inner := body.get(rules.embedded)) is str and inner[:1] in ("{", "["):
            with suppress(UndecodableMessage):  # text that only begins like JSON
                body = {**body, rules.embedded: check(inner.encode())}
        return body

    def _compiled(self, event: str) -> _Plan:
        override = self._rules.events.get(event, _NOTHING)
        object_ = override.object or self._rules.object or event
        compiled = {}
        for field in FIELDS:
            written = getattr(override, field)
            if written is None:
                written = getattr(self._rules, field)
            filled = [
                value.replace("$event", event or "_").replace("$object", object_ or "_") for value in values(written)
            ]
            compiled[field] = _COMPILERS.get(field, _texts)(filled)
        return _Plan(**compiled)

    def _rejected(self, what: str, message: str, where: str) -> RejectedMessage:
        return RejectedMessage(message, cause=f"{self._rules.name.replace('-', '_')}_{what}", where=where)


def _texts(written: list[str]) -> Text:
    return first([text(value) for value in written])


def _times(written: list[str]) -> Text:
    return first_time([raw(value) for value in written])


def _types(written: list[str]) -> Text:
    for value in written:
        if value[:1] != "=" and "{" not in value and "?" not in value:
            raise BadValue(f"a type is a template, or text after '=': {value!r}")
    return first([text(value, "name") for value in written])


_COMPILERS: Final[dict[str, Callable[[list[str]], Text]]] = {"time": _times, "type": _types}
_NOTHING: Final = Fields()
