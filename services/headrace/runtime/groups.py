"""A consumer group seen by an operator: who is in it, what it has committed, and setting it back.

A reset is the only way an offset goes backwards, so it is refused while anybody is in the group, and is read back before it is
called done. It leaves *no* offset map behind: the metadata of the old offset says what was finished past it, and under the new one
it would be damage (``offsetmap.CorruptOffsetMap``) or, worse, a lie. All calls block, and raise ``DependencyUnavailable`` while
Kafka can't be reached and ``FatalError`` when it refuses. Topics in and out are the mesh's own names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.runtime import config
from headrace.runtime.cluster import TIMEOUT_S, Cluster, Partition, guard, settled, translated
from headrace.settings import MeshSettings

_POLL_S: Final = 0.2
_STABLE_S: Final = 20.0  # a transaction that its owner left open ends before (config.TRANSACTION_TIMEOUT_MS)
_ABSENT: Final = frozenset({KafkaError.GROUP_ID_NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Member:
    """A process that is in the group."""

    client_id: str
    host: str
    partitions: int
    member_id: str = ""

    def __str__(self) -> str:
        return f"{self.client_id} at {self.host} ({self.partitions} partitions)"


@dataclass(frozen=True, slots=True)
class Committed:
    """``metadata`` is the offset map as it is stored; empty when nothing past ``offset`` was finished."""

    offset: int
    metadata: str = ""


class GroupActive(FatalError):
    """The group has members; its offsets are theirs."""

    def __init__(self, group: str, members: Sequence[Member]) -> None:
        names = "; ".join(map(str, members)) or "members that have just joined"
        super().__init__(f"group {group} is in use by {names}: stop them first; nothing was reset")
        self.members = tuple(members)


class Group:
    """One consumer group, by its name without prefix, such as ``headrace.persistence``."""

    def __init__(self, settings: MeshSettings, group: str) -> None:
        self._settings = settings
        self._cluster = Cluster(settings)
        self.name = config.group_id(settings, group)

    def members(self) -> list[Member]:
        """Who is in it now; nobody, too, when there is no such group yet."""
        return settled(self._members)

    def _members(self) -> list[Member]:
        client = self._cluster.client
        answers = guard(lambda: client.describe_consumer_groups([self.name], request_timeout=TIMEOUT_S))
        try:
            description = answers[self.name].result(timeout=2 * TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in _ABSENT:
                return []
            raise translated(error) from None
        return [
            Member(member.client_id, member.host.lstrip("/"), len(member.assignment.topic_partitions), member.member_id)
            for member in description.members
        ]

    def wait_empty(self, timeout_s: float, waiting: Callable[[Sequence[Member]], None] = lambda _members: None) -> None:
        """Returns once nobody is in the group; ``waiting`` is told who still is.

        Raises:
            GroupActive: somebody still is after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while members := self.members():
            if time.monotonic() >= deadline:
                raise GroupActive(self.name, members)
            waiting(members)
            time.sleep(_POLL_S)

    def committed(self, partitions: Collection[Partition], *, stable: bool = False) -> dict[Partition, Committed]:
        """What it has committed of ``partitions``; those that it never committed are left out.

        ``stable`` waits until no transaction may still change it: one that a killed member left open ends within seconds.
        """
        name = self._settings.physical_topic
        physical = {(name(topic), number): (topic, number) for topic, number in partitions}
        deadline = time.monotonic() + _STABLE_S
        while True:
            try:
                found = self._cluster.commits(self.name, list(physical), stable=stable)
                return {physical[where]: Committed(*commit) for where, commit in found.items()}
            except DependencyUnavailable:
                if not stable or time.monotonic() > deadline:
                    raise

    def reset(self, offsets: Mapping[Partition, int]) -> None:
        """Commit ``offsets``, with an empty offset map, and read them back. May be repeated.

        Raises:
            GroupActive: somebody is in the group. Nothing was changed.
            FatalError: what is stored afterwards is not what was asked for.
        """
        if members := self.members():
            raise GroupActive(self.name, members)
        name = self._settings.physical_topic
        self.committed(offsets, stable=True)  # a commit that is still under way would come after ours
        try:
            self._cluster.commit(
                self.name, {(name(topic), number): offset for (topic, number), offset in offsets.items()}
            )
        except FatalError:
            if members := self.members():  # who came in between
                raise GroupActive(self.name, members) from None
            raise
        self.verify(offsets)

    def verify(self, offsets: Mapping[Partition, int]) -> None:
        """Raises ``FatalError`` where what is committed is not ``offsets`` with an empty map, naming the first such partition."""
        stored = self.committed(offsets, stable=True)
        for where, offset in sorted(offsets.items()):
            if stored.get(where) != Committed(offset):
                found = stored.get(where)
                is_ = f"{found.offset}{' with an offset map' if found.metadata else ''}" if found else "nothing"
                raise FatalError(f"{where[0]}/{where[1]} of group {self.name}: {is_} is committed, not {offset}")
