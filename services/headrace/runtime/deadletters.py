"""What lies in a group's dead-letter topic, and sending it back.

A redrive sends each record to the topic and partition that it came from, unchanged but for two headers: ``dlq_redrives`` (how
often) and ``dlq_position`` (where it was first read, so that whoever claimed that position knows its own record again). In the same
transaction a *marker* is written to the dead-letter topic, which says that the entry is done with. One transactional id per
group fences another redrive at the same time, and entries are read only after that fence: an entry goes back once, however often
it is asked for. A record that fails again is a new entry. With an edit a record goes back with another value, and a third header,
``dlq_edited``, says so for good.

All calls block, and raise ``DependencyUnavailable`` while Kafka can't be reached and ``FatalError`` when it refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from headrace.messages import headers as record_headers
from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.pipeline import STAGES
from headrace.runtime import config, deadletter
from headrace.runtime.cluster import END, FIRST, Cluster, flat, translated
from headrace.settings import MeshSettings

MARKER: Final = deadletter.REDRIVEN
_READ_TIMEOUT_S: Final = 30.0
_TRANSACTION_S: Final = 30.0
_CHUNK: Final = 500  # entries in one transaction, which has to end within its time-out

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A dead letter. ``id`` (partition/offset) names it within its service; ``headers`` are the original record's own."""

    id: str
    topic: str
    partition: int
    offset: int
    cause: str
    error: str
    where: str | None
    attempts: int
    failed_at: str
    redrives: int
    redriven: bool
    first_position: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    edited: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Other values for entries that go back. ``apply`` may raise ``BadMessage``; ``digest`` tells on the record which edit."""

    apply: Callable[[Entry], bytes]
    digest: str


class UnknownEntry(BadMessage):
    """No such entry (any more), or one that can't go back since it does not say where it came from."""

    cause = "unknown_dead_letter"


class DeadLetters:
    """The dead letters of one service. Reads the whole topic into memory: a dead-letter limit keeps it small.

    Raises:
        KeyError: no such service.
    """

    def __init__(self, settings: MeshSettings, service: str) -> None:
        stage = STAGES[service]
        self._settings = settings
        self._sources = frozenset(stage.consumes)
        self._topic = settings.physical_topic(stage.dead_letters)
        self._transactional_id = f"headrace.dlq.{service}"

    def entries(self, *, include_redriven: bool = False) -> list[Entry]:
        """Entries in order of failure, without those that went back unless they are asked for."""
        return [entry for entry in self._read() if include_redriven or not entry.redriven]

    def entry(self, entry_id: str) -> Entry:
        """One entry, redriven or not. Raises ``UnknownEntry``."""
        return self._chosen(self._read(), (entry_id,))[0]

    def redrive(
        self,
        entry_ids: Collection[str] | None = None,
        *,
        dry_run: bool = False,
        edit: Edit | None = None,
        by: str | None = None,
    ) -> list[Entry]:
        """Send those entries back (None: all that can go); the entries that went, or with ``dry_run`` would go.

        Entries that went back before are left out, so the call may be repeated. ``by`` is who asks, for the record of it.

        Raises:
            UnknownEntry: for any of ``entry_ids``; nothing is sent back then.
            BadMessage: ``edit`` can't be made on one of them; likewise.
        """
        if dry_run:
            return [_edited(entry, edit) for entry in self._to_send(entry_ids)]
        try:
            options = config.transactional_producer(self._settings, transactional_id=self._transactional_id)
            producer = Producer(options)
            producer.init_transactions(_TRANSACTION_S)
            entries = [_edited(entry, edit) for entry in self._to_send(entry_ids)]  # only now: others' are marked
            marks = {deadletter.REDRIVEN_BY: by, deadletter.EDITED: edit.digest if edit else None}
            for start in range(0, len(entries), _CHUNK):
                producer.begin_transaction()
                for entry in entries[start : start + _CHUNK]:
                    self._send_back(producer, entry, marks)
                producer.commit_transaction(_TRANSACTION_S)
        except KafkaException as error:
            raise translated(error) from None
        return entries

    def _to_send(self, entry_ids: Collection[str] | None) -> list[Entry]:
        entries = self._read()
        if entry_ids is None:
            return [entry for entry in entries if not entry.redriven and entry.topic in self._sources]
        chosen = self._chosen(entries, entry_ids)
        for entry in chosen:
            if entry.topic not in self._sources:
                raise UnknownEntry(f"dead letter {entry.id} does not come from a topic of this service")
        return [entry for entry in chosen if not entry.redriven]

    @staticmethod
    def _chosen(entries: Sequence[Entry], entry_ids: Collection[str]) -> list[Entry]:
        if unknown := sorted(set(entry_ids) - {entry.id for entry in entries}):
            raise UnknownEntry(f"no dead letter {', '.join(unknown)}")
        return [entry for entry in entries if entry.id in entry_ids]

    def _send_back(self, producer: Producer, entry: Entry, marks: Mapping[str, str | None]) -> None:
        facts = (
            (deadletter.REDRIVES, str(entry.redrives + 1).encode()),
            (deadletter.POSITION, entry.first_position.encode()),
            *([(deadletter.EDITED, entry.edited.encode())] if entry.edited else []),
        )
        producer.produce(
            self._settings.physical_topic(entry.topic),
            value=entry.value,
            key=entry.key,
            headers=[*entry.headers, *facts],
            partition=entry.partition,  # not by key: whoever produced it first may use another partitioner
        )
        headers = [(name, text.encode()) for name, text in {MARKER: entry.id, **marks}.items() if text]
        producer.produce(self._topic, value=None, key=entry.key, headers=cast("Any", headers))

    def _read(self) -> list[Entry]:
        letters = [(message, _headers(message)) for message in self._messages()]
        markers = {value for _, headers in letters for name, value in headers if name == MARKER}
        entries = [_entry(message, headers) for message, headers in letters if MARKER not in dict(headers)]
        marked = [replace(entry, redriven=entry.id.encode() in markers) for entry in entries]
        return sorted(marked, key=lambda entry: entry.failed_at)

    def _messages(self) -> Iterator[KafkaMessage]:
        """All records that are in the topic now."""
        cluster = Cluster(self._settings)
        partitions = flat(cluster.partitions([self._topic]))
        first, end = cluster.offsets(partitions, FIRST), cluster.offsets(partitions, END)
        waiting = {number for topic, number in partitions if first[topic, number] < end[topic, number]}
        if not waiting:
            return
        consumer = Consumer(config.reader(self._settings, client="dlq"))
        try:
            consumer.assign([TopicPartition(self._topic, n, first[self._topic, n]) for n in sorted(waiting)])
            deadline = time.monotonic() + _READ_TIMEOUT_S
            while waiting:
                if time.monotonic() > deadline:
                    raise DependencyUnavailable("the dead-letter topic could not be read in time")
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(cast("int", message.partition()))
                else:
                    raise translated(KafkaException(error))
        finally:
            consumer.close()


def _edited(entry: Entry, edit: Edit | None) -> Entry:
    return entry if edit is None else replace(entry, value=edit.apply(entry), edited=edit.digest)


def _headers(message: KafkaMessage) -> Headers:
    return tuple(cast("Any", message.headers()) or ())


def _entry(message: KafkaMessage, headers: Headers) -> Entry:
    """Of a dead letter, or of whatever a stranger wrote there: its facts are empty then, and it can't go back."""
    facts = record_headers.decode([header for header in headers if header[0].startswith(deadletter.PREFIX)])
    topic, partition, offset = (
        facts.get(name, "") for name in (deadletter.TOPIC, deadletter.PARTITION, deadletter.OFFSET)
    )
    return Entry(
        id=f"{message.partition()}/{message.offset()}",
        topic=topic if partition.isdecimal() and offset.isdecimal() else "",
        partition=_number(partition),
        offset=_number(offset),
        cause=facts.get(deadletter.CAUSE, ""),
        error=facts.get(deadletter.ERROR, ""),
        where=facts.get(deadletter.WHERE),
        attempts=_number(facts.get(deadletter.ATTEMPTS, "")),
        failed_at=facts.get(deadletter.FAILED_AT, ""),
        redrives=_number(facts.get(deadletter.REDRIVES, "")),
        redriven=False,
        edited=facts.get(deadletter.EDITED),
        first_position=facts.get(deadletter.POSITION) or f"{topic}/{partition}/{offset}",
        key=message.key(),
        value=message.value(),
        headers=tuple(header for header in headers if not header[0].startswith(deadletter.PREFIX)),
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else 0
