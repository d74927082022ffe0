"""The transaction thread: makes one plan at a time true, or says that it did not happen. Never "perhaps".

Two transactional producers take turns, which hides the time that the broker needs to write the markers of the previous commit.
A result that is ambiguous (a timeout around the commit, a fenced or fatal producer, a call that hangs) is never guessed at:

1. the producer is dropped and a new one of the same ``transactional.id`` initialised, which makes the broker end whatever was open;
2. the group's committed offsets are read back: they are what this plan wanted exactly if the plan was committed, since every plan
   changes the offset or the metadata of each of its partitions, and only we may commit partitions that we own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol, cast

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from headrace.messages.codec import Encoded
from headrace.messages.errors import FatalError
from headrace.observe import metrics
from headrace.observe.logging import get_logger
from headrace.runtime import config
from headrace.runtime.bounded import Bounded, Hung
from headrace.runtime.engine import Tenancy
from headrace.runtime.offsets import stored_offsets
from headrace.settings import MeshSettings

log = get_logger(__name__)

_ABORT_TIMEOUT_S = 10.0
_INIT_TIMEOUT_S = 10.0
_RESOLVE_TIMEOUT_S = 10.0
_HUNG_AFTER_S = 2.0  # past the time-out that a call was given
_FENCED_LIMIT, _FENCED_WINDOW_S = 5, 60.0

_TENANCY_REFUSED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


class Outcome(Enum):
    COMMITTED = auto()
    ABORTED = auto()  # nothing happened: do it again
    REFUSED = auto()  # nothing happened, for a tenancy token that is not valid any more: renew tokens, then do it again


class Stopped(Exception):
    """The worker stops while the broker is away: the outcome will be found out by the next owner."""


class Offsets(Protocol):
    """Reads a group's committed offsets and metadata, stable ones only."""

    def __call__(self, partitions: list[TopicPartition]) -> list[TopicPartition]: ...


def committed_offsets(settings: MeshSettings, group: str) -> Offsets:
    """Reads of ``group`` (without prefix)."""
    return partial(
        stored_offsets, settings, config.group_id(settings, group), stable=True, timeout_s=_RESOLVE_TIMEOUT_S
    )


OffsetCommit = tuple[Tenancy, int, str]  # offset and metadata, to be committed with the tenancy's token


class Transactions:
    """Owned by one thread. ``stopping`` ends the waits for a broker that is away."""

    def __init__(
        self, settings: MeshSettings, *, service: str, offsets: Offsets | None, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self._service = service
        self._offsets = offsets
        self._stopping = stopping
        self._ids = [f"headrace.{service}.{settings.instance}.{slot}" for slot in ("a", "b")]
        self._producers: list[Producer | None] = [None, None]
        self._turn = 0
        self._bounded = Bounded(f"offsets-{service}")
        self._fenced_at: list[float] = []

    def open(self) -> None:
        """Initialise both producers, which also ends what an earlier process of this slot left open. Waits for the broker."""
        for slot in range(len(self._ids)):
            self._rebuild(slot)

    def commit(
        self, outputs: Iterable[Encoded], offsets: Collection[OffsetCommit], *, deadline: float | None = None
    ) -> Outcome:
        """One transaction: all outputs, in this order, and the offsets of all partitions, or nothing.

        Without offsets there is nothing to resolve an ambiguous outcome by: it counts as aborted. ``deadline`` (``time.monotonic``)
        keeps that true for callers that will have given up by then: the commit is asked for only while somebody waits, and what is
        unanswered at the deadline is ended by the broker. All that remains is a commit that the broker made and could not confirm.

        Raises:
            Stopped: the worker stops and the broker did not answer.
            FatalError: the broker refuses for good (authorisation, an output that is too large, a second process of this slot).
        """
        slot, self._turn = self._turn, 1 - self._turn
        started = time.perf_counter()
        error = self._attempt(slot, outputs, offsets, deadline)
        outcome = self._failed(slot, offsets, error) if error else Outcome.COMMITTED
        metrics.COMMIT_SECONDS.labels(self._service).observe(time.perf_counter() - started)
        metrics.COMMITS.labels(self._service, outcome.name.lower()).inc()
        return outcome

    def _attempt(
        self, slot: int, outputs: Iterable[Encoded], offsets: Collection[OffsetCommit], deadline: float | None
    ) -> KafkaError | None:
        """None if it was committed. What it returns holds no reference to the producer, which may have to go at once."""
        producer = self._producers[slot] or self._rebuild(slot)
        try:
            producer.poll(0)  # serve its log lines
            # 1. begin
            producer.begin_transaction()
            # 2. every output of every finished record, in the order in which they finished
            for output in outputs:
                self._produce(producer, output)
            # 3. the offsets of each partition, under the token of its tenancy
            for token, partitions in self._by_token(offsets):
                self._send_offsets(producer, partitions, token)
            # 4. all of it or nothing (this flushes first)
            if deadline is not None and producer.flush(_left(deadline)):
                return _too_late()
            producer.commit_transaction(_left(deadline))
        except (KafkaException, BufferError) as error:
            return _kafka_error(error)
        except Hung:
            return KafkaError(KafkaError._TIMED_OUT, "the client hangs while it sends the offsets")
        return None

    def _send_offsets(self, producer: Producer, partitions: list[TopicPartition], token: Any) -> None:
        """A call that hangs is given up with its producer. It can't commit any more: only ``_attempt`` asks for that."""
        limit_s = config.COMMIT_TIMEOUT_S
        send = producer.send_offsets_to_transaction
        self._bounded.call(send, partitions, token, limit_s, limit_s=limit_s + _HUNG_AFTER_S)

    def _produce(self, producer: Producer, output: Encoded) -> None:
        while True:
            try:
                producer.produce(
                    self._prefix + output.topic, output.value, output.key, headers=cast("list[Any]", output.headers)
                )
                return
            except BufferError:  # the local queue is full: let it drain
                producer.poll(0.05)

    def close(self) -> None:
        """Nothing is committed after this."""
        self._bounded.close()

    # --- when it did not go well -------------------------------------------------------------------------------------

    def _failed(self, slot: int, offsets: Collection[OffsetCommit], error: KafkaError) -> Outcome:
        log.warning("transaction_failed", service=self._service, code=error.name(), error=error.str())
        _raise_if_hopeless(error)
        if error.code() in _FENCED:
            self._note_fenced()
        if not error.fatal() and error.txn_requires_abort() and self._abort(slot):
            return Outcome.REFUSED if error.code() in _TENANCY_REFUSED else Outcome.ABORTED
        metrics.COMMITS.labels(self._service, "ambiguous").inc()
        self._rebuild(slot)
        return self._resolve(offsets)

    def _abort(self, slot: int) -> bool:
        """Abort; False if even that is ambiguous. Flushed first: aborting below the first produce can be fatal."""
        producer = self._producers[slot]
        try:
            if producer:
                producer.flush(_ABORT_TIMEOUT_S)
                producer.abort_transaction(_ABORT_TIMEOUT_S)
        except KafkaException as error:
            log.warning("abort_failed", service=self._service, error=_kafka_error(error).str())
            return False
        return True

    def _rebuild(self, slot: int) -> Producer:
        """A new producer of this slot, initialised. Tries until the broker is there or the worker stops.

        The old one goes first, with the only reference to it: it would go on asking for its commit until the new one fences it.
        """
        self._producers[slot] = None
        delay = 0.05
        while True:
            producer = Producer(config.transactional_producer(self._settings, transactional_id=self._ids[slot]))
            try:
                # Asked for before it has a connection, librdkafka looks for a coordinator again after 500 ms only.
                producer.list_topics(timeout=_INIT_TIMEOUT_S)
                producer.init_transactions(_INIT_TIMEOUT_S)
            except KafkaException as exception:
                error = _kafka_error(exception)
                _raise_if_hopeless(error)
                log.warning("transactions_unavailable", service=self._service, error=error.str())
                if self._stopping.wait(delay):
                    raise Stopped from None
                delay = min(2.0, delay * 2)
            else:
                self._producers[slot] = producer
                return producer

    def _resolve(self, offsets: Collection[OffsetCommit]) -> Outcome:
        """Find out whether these offsets were committed, now that their producer can't do anything any more."""
        owned = [entry for entry in offsets if not entry[0].ended]
        if not owned or self._offsets is None:
            return Outcome.ABORTED  # nobody waits for it: what was lost belongs to its next owner
        tenancy, offset, metadata = owned[0]
        topic = self._settings.physical_topic(tenancy.topic)
        while True:
            try:
                found = self._offsets([TopicPartition(topic, tenancy.partition)])[0]
            except KafkaException as error:
                log.warning("offsets_unavailable", service=self._service, error=_kafka_error(error).str())
                if self._stopping.wait(0.5):
                    raise Stopped from None
            else:
                same = found.offset == offset and (found.metadata or "") == metadata
                return Outcome.COMMITTED if same else Outcome.ABORTED

    def _by_token(self, offsets: Collection[OffsetCommit]) -> Iterable[tuple[Any, list[TopicPartition]]]:
        groups: dict[int, tuple[Any, list[TopicPartition]]] = {}
        for tenancy, offset, metadata in offsets:
            topic = self._settings.physical_topic(tenancy.topic)
            partitions = groups.setdefault(id(tenancy.token), (tenancy.token, []))[1]
            partitions.append(TopicPartition(topic, tenancy.partition, offset, metadata))
        return groups.values()

    def _note_fenced(self) -> None:
        """Fenced once: our transaction timed out. Again and again: another process uses this slot."""
        now = time.monotonic()
        self._fenced_at = [at for at in self._fenced_at if now - at < _FENCED_WINDOW_S] + [now]
        if len(self._fenced_at) >= _FENCED_LIMIT:
            raise FatalError(
                f"another process runs {self._service} as instance {self._settings.instance!r}: "
                "give each replica its own HEADRACE_INSTANCE"
            )


def _left(deadline: float | None) -> float:
    """Seconds until then, at most what a commit may take and never none."""
    return (
        config.COMMIT_TIMEOUT_S
        if deadline is None
        else min(config.COMMIT_TIMEOUT_S, max(0.01, deadline - time.monotonic()))
    )


def _too_late() -> KafkaError:
    return KafkaError(KafkaError._TIMED_OUT, "not acknowledged before the deadline of those who wait for it")


def _kafka_error(exception: Exception) -> KafkaError:
    error = exception.args[0] if exception.args else None
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(exception))


_HOPELESS: dict[int, Callable[[KafkaError], str]] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: lambda e: f"not allowed to write a topic: {e.str()}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: lambda e: f"not allowed to commit for the group: {e.str()}",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: lambda e: f"not allowed to use the transactional id: {e.str()}",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: lambda e: f"not allowed by the cluster: {e.str()}",
    KafkaError.MSG_SIZE_TOO_LARGE: lambda _: (
        "an output is larger than the topic takes: lower HEADRACE_MAX_RECORD_BYTES"
    ),
    KafkaError._UNKNOWN_TOPIC: lambda e: f"a topic is missing ({e.str()}): run `headrace topics apply`",
    KafkaError.UNKNOWN_TOPIC_OR_PART: lambda e: f"a topic is missing ({e.str()}): run `headrace topics apply`",
}


def _raise_if_hopeless(error: KafkaError) -> None:
    if text := _HOPELESS.get(error.code()):
        raise FatalError(text(error))
