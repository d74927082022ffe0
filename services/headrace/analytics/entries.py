"""From records of ``audit.events`` to what is counted. Only entries of finished runs are; the rest is passed over."""

from __future__ import annotations

from typing import Final

from headrace.analytics.windows import Entry
from headrace.messages.audit import AuditEvent
from headrace.messages.base import Message
from headrace.messages.errors import UndecodableMessage
from headrace.messages.headers import RawHeaders
from headrace.messages.totals import Run
from headrace.postgres.json import storable_text

KIND: Final = "run_finished"
UNKNOWN_AGENT: Final = "(unknown)"
_KIND_HEADER: Final = "ce_kind"
_COUNTED: Final = KIND.encode()
_LONGEST_NAME: Final = 200
_MOST_TOKENS: Final = 10**12  # of one run: whatever a record says, sums stay within what a database can hold
_MOST_USD: Final = 1e6
_AHEAD_MS: Final = 3_600_000  # a clock may be wrong by so much


def is_other_kind(headers: RawHeaders) -> bool:
    """Whether the headers alone say that it is not a finished run, as they do of most entries."""
    return dict(headers).get(_KIND_HEADER, _COUNTED) != _COUNTED


def part_of(partition: int, event: AuditEvent) -> str:
    """Name of the part that the entry belongs to: what this audit partition holds of its source partition."""
    return f"{partition}/{event.source_topic}/{event.source_partition}"


def entry_of(offset: int, event: AuditEvent, now_ms: int) -> Entry:
    """What is counted of an entry of kind ``run_finished``.

    Raises:
        UndecodableMessage: ``timestamp``, a completion that can't be: before 1970, or more than an hour ahead.
    """
    if not 0 <= event.source_timestamp_ms <= now_ms + _AHEAD_MS:
        raise UndecodableMessage("not a time to count it at", cause="timestamp", where="/source_timestamp_ms")
    run = Run(
        failed=event.status != "completed",
        model=_name(event.model or ""),
        input_tokens=min(event.input_tokens or 0, _MOST_TOKENS),
        output_tokens=min(event.output_tokens or 0, _MOST_TOKENS),
        cost_usd=min(event.cost_usd or 0.0, _MOST_USD),
        duration_ms=event.duration_ms,
    )
    agent = _name(event.agent_name or UNKNOWN_AGENT)
    return Entry(offset, _name(event.tenant), agent, event.source_timestamp_ms, run)


def _name(text: str) -> str:
    return storable_text(text)[:_LONGEST_NAME]


def audit_event(message: Message) -> AuditEvent:
    """``message`` as what the topic carries."""
    assert isinstance(message, AuditEvent), "the codec gives a topic's own message"
    return message
