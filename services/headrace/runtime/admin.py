"""The cluster's administration: topics as declared, what is in them, and how far groups have read.

All calls block (run them in a thread from asyncio) and raise ``DependencyUnavailable`` while Kafka can't be reached and
``FatalError`` when it refuses. Names in and out are the mesh's own; the cluster's prefix is put on and taken off here. What
should change is decided in ``topology.plan``; this file only asks and does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from headrace.messages.errors import DependencyUnavailable
from headrace.runtime import lag
from headrace.runtime.cluster import END, FIRST, TIMEOUT_S, Cluster, Settling, flat, guard, result
from headrace.runtime.lag import GroupLag
from headrace.settings import MeshSettings
from headrace.topology.plan import Change, TopicState, plan, topic_config
from headrace.topology.spec import TopicSpec

_SETTLE_S: Final = 15.0  # how long a created topic may take to have leaders


@dataclass(frozen=True, slots=True)
class TopicCount:
    """Offsets of a topic, summed over partitions. ``records`` also counts transaction markers."""

    topic: str
    partitions: int
    records: int
    end: int


class Admin:
    """One administrative client, for as many calls as one likes."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._cluster = Cluster(settings)

    def diff(self, specs: Iterable[TopicSpec], *, replication: int | None = None) -> list[Change]:
        """What ``apply`` would change, in order, with what it would refuse. Changes nothing.

        ``replication`` is for new topics; by default three, or as many as there are brokers.
        """
        specs = list(specs)
        replicas = replication or min(3, self._cluster.brokers())
        states = self._states([spec.name for spec in specs])
        return [change for spec in specs for change in plan(spec, states.get(spec.name), replicas)]

    def apply(self, specs: Iterable[TopicSpec], *, replication: int | None = None) -> list[Change]:
        """Make the cluster's topics as declared; the changes, of which the refused ones were not made.

        May run in several processes at once: who comes second finds it done.
        """
        by_name = {spec.name: spec for spec in specs}
        replicas = replication or min(3, self._cluster.brokers())
        changes = self.diff(by_name.values(), replication=replicas)
        wanted = [change for change in changes if change.refused is None]
        self._create([by_name[change.topic] for change in wanted if change.kind == "create"], replicas)
        self._grow({change.topic: int(change.new) for change in wanted if change.kind == "partitions"})
        self._configure([change for change in wanted if change.kind == "config"])
        self._await([by_name[change.topic] for change in wanted], wanted, replicas)
        return changes

    def topic_counts(self, topics: Iterable[str]) -> dict[str, TopicCount]:
        """Counts by topic; a topic that the cluster lacks is left out."""
        found = self._cluster.partitions([self._settings.physical_topic(topic) for topic in topics])
        first = self._cluster.offsets(flat(found), FIRST)
        end = self._cluster.offsets(flat(found), END)
        counts = {}
        for physical, numbers in found.items():
            mine = [(physical, number) for number in numbers]
            topic = self._settings.logical_topic(physical)
            total = sum(end[partition] for partition in mine)
            counts[topic] = TopicCount(topic, len(mine), total - sum(first[partition] for partition in mine), total)
        return counts

    def group_lag(self, group: str, topics: Sequence[str]) -> dict[str, GroupLag]:
        """``runtime.lag.group_lag``."""
        return lag.group_lag(self._cluster, group, topics)

    def _states(self, topics: Sequence[str]) -> dict[str, TopicState]:
        counts = self.topic_counts(topics)
        if not counts:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, self._settings.physical_topic(topic)) for topic in counts]
        answers = guard(lambda: self._cluster.client.describe_configs(resources, request_timeout=TIMEOUT_S))
        configs = {self._settings.logical_topic(resource.name): result(future) for resource, future in answers.items()}
        return {
            topic: TopicState(
                partitions=count.partitions,
                records=count.records,
                config={entry.name: str(entry.value) for entry in configs[topic].values()},
            )
            for topic, count in counts.items()
        }

    def _create(self, specs: Sequence[TopicSpec], replication: int) -> None:
        if not specs:
            return
        topics = [
            NewTopic(
                self._settings.physical_topic(spec.name),
                num_partitions=spec.partitions,
                replication_factor=replication,
                config=topic_config(spec, replication),
            )
            for spec in specs
        ]
        for future in guard(lambda: self._cluster.client.create_topics(topics, operation_timeout=TIMEOUT_S)).values():
            result(future, but=KafkaError.TOPIC_ALREADY_EXISTS)
        self._settle({topic.topic: topic.num_partitions for topic in topics})

    def _grow(self, partitions: Mapping[str, int]) -> None:
        if not partitions:
            return
        physical = {self._settings.physical_topic(topic): count for topic, count in partitions.items()}
        wanted = [NewPartitions(topic, count) for topic, count in physical.items()]
        answers = guard(lambda: self._cluster.client.create_partitions(wanted, operation_timeout=TIMEOUT_S))
        for future in answers.values():
            result(future, but=KafkaError.INVALID_PARTITIONS)  # somebody else has just done it; _settle finds out
        self._settle(physical)

    def _settle(self, physical: Mapping[str, int]) -> None:
        """Wait until each topic has its partitions, with leaders: before that a producer would meet an unknown topic."""
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            if self._are_led(physical):
                return
            time.sleep(0.05)
        raise DependencyUnavailable("Kafka has accepted the topics, but they have no leaders yet")

    def _are_led(self, physical: Mapping[str, int]) -> bool:
        topics = self._cluster.metadata().topics
        if not all(
            name in topics
            and len(topics[name].partitions) >= count
            and all(partition.leader >= 0 for partition in topics[name].partitions.values())
            for name, count in physical.items()
        ):
            return False
        try:
            self._cluster.offsets(flat(self._cluster.partitions(physical)), END)
        except Settling:  # a leader that has not heard of it yet
            return False
        return True

    def _await(self, specs: Sequence[TopicSpec], made: Sequence[Change], replicas: int) -> None:
        """Wait until the brokers show what was made: the controller answers before they have heard of it."""
        deadline = time.monotonic() + _SETTLE_S
        while made and set(made) & set(self.diff(specs, replication=replicas)):
            if time.monotonic() > deadline:
                raise DependencyUnavailable("Kafka has accepted the changes, but does not show them yet")
            time.sleep(0.05)

    def _configure(self, changes: Sequence[Change]) -> None:
        entries: dict[str, list[ConfigEntry]] = {}
        for change in changes:
            entry = ConfigEntry(change.name, change.new, incremental_operation=AlterConfigOpType.SET)
            entries.setdefault(self._settings.physical_topic(change.topic), []).append(entry)
        if not entries:
            return
        resources = [
            ConfigResource(ResourceType.TOPIC, topic, incremental_configs=wanted) for topic, wanted in entries.items()
        ]
        client = self._cluster.client
        for future in guard(lambda: client.incremental_alter_configs(resources, request_timeout=TIMEOUT_S)).values():
            result(future)
