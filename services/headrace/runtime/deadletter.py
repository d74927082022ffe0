"""A record's last stop: the dead-letter topic of the consumer group, unchanged, with the cause in its headers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

from headrace.messages.codec import Encoded
from headrace.messages.errors import BadMessage
from headrace.observe.logging import redact_text

PREFIX: Final = "dlq_"
GROUP: Final = "dlq_group"
TOPIC: Final = "dlq_topic"
PARTITION: Final = "dlq_partition"
OFFSET: Final = "dlq_offset"
CAUSE: Final = "dlq_cause"
ERROR: Final = "dlq_error"
WHERE: Final = "dlq_where"
ATTEMPTS: Final = "dlq_attempts"
FAILED_AT: Final = "dlq_failed_at"
REDRIVES: Final = "dlq_redrives"  # how often the record was redriven before
POSITION: Final = "dlq_position"  # of a redriven record: topic/partition/offset where it was first read
EDITED: Final = "dlq_edited"  # of a redriven record: its value was changed on the way, by an edit with this digest
REDRIVEN: Final = "dlq_redriven"  # on a marker: id of the entry that went back
REDRIVEN_BY: Final = "dlq_redriven_by"  # on a marker: who sent the entry back
_KEPT: Final = frozenset({REDRIVES, POSITION, EDITED})  # what a redrive put on the record stays on it
MAX_ERROR: Final = 500  # characters


class SourceRecord(Protocol):
    """The record that failed, as it was received."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def cause_of(error: Exception) -> str:
    """A short stable code: the error's own, or the exception's class for what nobody foresaw."""
    return error.cause if isinstance(error, BadMessage) else type(error).__name__


def dead_letter(
    record: SourceRecord, error: Exception, *, topic: str, group: str, attempts: int, now: datetime | None = None
) -> Encoded:
    """The dead letter of ``record``. Only our own errors' texts are quoted: an unforeseen one's may hold payload or secrets."""
    text = str(error) if isinstance(error, BadMessage) else redact_text(str(error))
    facts = {
        GROUP: group,
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(record.offset),
        CAUSE: cause_of(error),
        ERROR: redact_text(text)[:MAX_ERROR],
        ATTEMPTS: str(attempts),
        FAILED_AT: (now or datetime.now(UTC)).isoformat(),
    }
    if isinstance(error, BadMessage) and error.where:
        facts[WHERE] = error.where[:MAX_ERROR]
    original = [(name, value) for name, value in record.headers if not name.startswith(PREFIX) or name in _KEPT]
    headers = [*original, *((name, text.encode("utf-8", "replace")) for name, text in facts.items())]
    return Encoded(topic, record.key, cast("bytes", record.value), cast("Any", headers))
