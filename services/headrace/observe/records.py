"""Spans of records, by OpenTelemetry's messaging conventions: made, processed, committed.

    create <topic>    PRODUCER   one output record; its context travels in that record's headers
    send <service>    CLIENT     a publisher's call, until the broker has acknowledged; the creations are inside
    process <topic>   CONSUMER   one input record, all its attempts in this worker; child of the creation
    commit <group>    CLIENT     one transaction, linked to the processing of its inputs (a trace of its own: it is many runs')

A record's processing is the child, not only the linked successor, of its creation: so one run is one trace, through every topic.
Nothing here knows a Kafka client; topics are the cluster's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from headrace.messages import headers as record_headers
from headrace.messages.errors import BadMessage
from headrace.observe import tracing
from headrace.observe.tracing import Span, SpanKind

_NOTHING: Final = nullcontext(tracing.NO_SPAN)
_KAFKA: Final = {"messaging.system": "kafka"}
_MAX_ID: Final = 256  # characters; ids are senders'


class InputRecord(Protocol):
    """A received record."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Traced(Protocol):
    """What carries a record's span through a worker; None while tracing is off."""

    trace: Span | None


class RecordSpans:
    """The spans of one worker; ``prefix`` stands before the topics and the group in the cluster."""

    def __init__(self, group: str, prefix: str) -> None:
        self._group = prefix + group
        self._prefix = prefix

    def enter(self, item: Traced, record: InputRecord) -> None:
        """An attempt at ``record``: its span, begun with the first one, is the current one for the rest of this task."""
        if item.trace is None:
            if not tracing.enabled():
                return
            item.trace = self._begin(record)
        tracing.make_current(item.trace)

    def retried(self, item: Traced, error: Exception, attempt: int, delay_s: float) -> None:
        """Attempt number ``attempt`` failed; the next one comes in ``delay_s``."""
        if item.trace is not None:
            facts: dict[str, Any] = {
                "error.type": _error_type(error),
                "headrace.attempt": attempt,
                "headrace.retry_in_s": delay_s,
            }
            item.trace.add_event("retry", facts)

    def ended(self, item: Traced, error: Exception | None = None) -> None:
        """The record is finished, or dead-lettered for ``error``."""
        if item.trace is not None:
            if error is not None:
                tracing.fail(item.trace, _error_type(error))
            item.trace.end()

    def abandoned(self, item: Traced) -> None:
        """The partition is gone or the worker stops: the next owner runs the record again."""
        if item.trace is not None:
            item.trace.add_event("abandoned")
            item.trace.end()

    def committing(self, items: Iterable[Traced]) -> AbstractContextManager[Span]:
        """The transaction that ``items`` are committed in."""
        if not tracing.enabled():
            return _NOTHING
        contexts = [item.trace.get_span_context() for item in items if item.trace is not None]
        if not any(context.trace_flags.sampled for context in contexts):
            return _NOTHING
        attributes = _KAFKA | {
            "messaging.operation.name": "commit",
            "messaging.operation.type": "settle",
            "messaging.consumer.group.name": self._group,
            "messaging.batch.message_count": len(contexts),
        }
        links = [context for context in contexts if context.trace_flags.sampled]
        return tracing.span(
            f"commit {self._group}", SpanKind.CLIENT, attributes, parent=tracing.remote({}), links=links
        )

    def _begin(self, record: InputRecord) -> Span:
        headers = record_headers.decode(record.headers)
        topic = self._prefix + record.topic
        attributes = _KAFKA | {
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
            "messaging.message.id": _id(headers, record_headers.ID),
            "messaging.message.body.size": len(record.value or b""),
            "headrace.run_id": _id(headers, record_headers.RUN_ID),
            "gen_ai.agent.name": _id(headers, record_headers.AGENT),
        }
        return tracing.begin(f"process {topic}", SpanKind.CONSUMER, attributes, parent=tracing.remote(headers))


def creating(topic: str) -> AbstractContextManager[Span]:
    """The making of one record for ``topic``; inside, ``tracing.current_headers`` are that record's."""
    attributes = _KAFKA | {
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": topic,
    }
    return tracing.span(f"create {topic}", SpanKind.PRODUCER, attributes)


def sending(service: str, count: int) -> AbstractContextManager[Span]:
    """The publishing of ``count`` records, until it is acknowledged or refused."""
    if not tracing.enabled():
        return _NOTHING
    attributes = _KAFKA | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": count,
    }
    return tracing.span(f"send {service}", SpanKind.CLIENT, attributes)


def _id(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return value[:_MAX_ID] if value else None


def _error_type(error: Exception) -> str:
    return error.cause if isinstance(error, BadMessage) else tracing.class_name(error)
