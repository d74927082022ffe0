"""What an administrative client can ask a cluster, as plain values. Shared by ``runtime.admin`` and ``runtime.lag``.

Names here are the cluster's own, with the prefix on. All calls block, and raise ``DependencyUnavailable`` while Kafka can't be
reached and ``FatalError`` when it refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar, cast

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.runtime import config
from headrace.runtime.offsets import store_offsets, stored_offsets
from headrace.settings import MeshSettings

T = TypeVar("T")
Partition = tuple[str, int]  # topic, number

TIMEOUT_S: Final = 10.0
_SETTLE_S: Final = 5.0
FIRST: Final[Any] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
END: Final[Any] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
_SETTLING: Final = frozenset(
    {
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,  # a leader that has not heard of its new partition yet
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)


class Settling(DependencyUnavailable):
    """A leader or a coordinator is just changing, or loading: gone in a moment."""


class Cluster:
    """One administrative client, connected when first asked."""

    def __init__(self, settings: MeshSettings) -> None:
        self.settings = settings
        self.client = AdminClient(config.common(settings, "admin"))

    def brokers(self) -> int:
        """How many brokers are up."""
        return len(self.metadata().brokers)

    def metadata(self) -> Any:
        """Metadata of all topics. Never of one by its name, since asking for it may create it."""
        return guard(lambda: self.client.list_topics(timeout=TIMEOUT_S))

    def partitions(self, topics: Iterable[str]) -> dict[str, list[int]]:
        """Partition numbers of those of ``topics`` that exist."""
        known = self.metadata().topics
        return {
            name: sorted(known[name].partitions)
            for name in topics
            if name in known and known[name].error is None and known[name].partitions
        }

    def offsets(
        self, partitions: Sequence[Partition], which: Any, *, uncommitted: bool = False
    ) -> dict[Partition, int]:
        """``FIRST`` or ``END`` offset of each partition; the end is what a read_committed reader can reach.

        ``uncommitted`` counts what open transactions have written too.
        """
        if not partitions:
            return {}
        asked = {TopicPartition(topic, number): which for topic, number in partitions}
        level = IsolationLevel.READ_UNCOMMITTED if uncommitted else IsolationLevel.READ_COMMITTED

        def read() -> dict[Partition, int]:
            answers = guard(lambda: self.client.list_offsets(asked, isolation_level=level, request_timeout=TIMEOUT_S))
            return {(where.topic, where.partition): result(future).offset for where, future in answers.items()}

        return settled(read)

    def committed(self, group: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Committed offsets of those partitions that the group has committed."""
        return {where: offset for where, (offset, _) in self.commits(group, partitions).items()}

    def commits(
        self, group: str, partitions: Sequence[Partition], *, stable: bool = False
    ) -> dict[Partition, tuple[int, str]]:
        """Committed offsets with their metadata. ``stable`` waits for transactions that may still change them."""
        if not partitions:
            return {}
        asked = [TopicPartition(topic, number) for topic, number in partitions]

        def read() -> list[TopicPartition]:
            return guard(lambda: stored_offsets(self.settings, group, asked, stable=stable, timeout_s=TIMEOUT_S))

        return {
            (entry.topic, entry.partition): (entry.offset, entry.metadata or "")
            for entry in settled(read)
            if entry.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Commit for a group that nobody is in, with empty metadata. Raises ``FatalError`` if somebody is."""
        wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        settled(lambda: guard(lambda: store_offsets(self.settings, group, wanted)))


def flat(found: Mapping[str, Sequence[int]]) -> list[Partition]:
    """All partitions of ``Cluster.partitions``."""
    return [(topic, number) for topic, numbers in found.items() for number in numbers]


def settled(call: Callable[[], T]) -> T:
    """``call``, repeated for a few seconds while Kafka is ``Settling``."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            return call()
        except Settling:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def guard(call: Callable[[], T]) -> T:
    """``call``, with Kafka's exceptions as ours."""
    try:
        return call()
    except KafkaException as error:
        raise translated(error) from None


def result(future: Future[Any], *, but: int | None = None) -> Any:
    """The future's result; None for the error code ``but``."""
    try:
        return future.result(timeout=2 * TIMEOUT_S)
    except KafkaException as error:
        if but is not None and cast("KafkaError", error.args[0]).code() == but:
            return None
        raise translated(error) from None
    except TimeoutError:
        raise DependencyUnavailable("Kafka did not answer") from None


def not_allowed_to_read(topic: str) -> FatalError:
    """What is said where ACLs keep this client from reading ``topic`` (its name in the cluster; several: with commas)."""
    return FatalError(f"not allowed to read the topic {topic}: this principal needs the ACLs READ and DESCRIBE there")


def translated(error: KafkaException) -> DependencyUnavailable | FatalError:
    """Away, or refusing?"""
    reason = cast("KafkaError", error.args[0])
    if reason.code() in _SETTLING:
        return Settling(f"Kafka is settling: {reason.name()}")
    if reason.code() in _AWAY or reason.retriable():
        return DependencyUnavailable(f"Kafka is not reachable: {reason.name()}")
    return FatalError(f"Kafka refuses: {reason.str()}")
