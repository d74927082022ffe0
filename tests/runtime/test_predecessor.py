"""A new process takes the one that it replaces out of the group, and nobody else."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Consumer, TopicPartition

from headrace.runtime import config
from headrace.runtime.groups import Group
from headrace.runtime.predecessor import leave_for_predecessor
from headrace.settings import MeshSettings
from tests.runtime.kafka import produce
from tests.runtime.relay import STAGE, Relay, job
from tests.runtime.running import running, until


class Silent:
    """A member that never comes back for a poll, as one that was killed; its client may go on sending heartbeats."""

    def __init__(self, settings: MeshSettings) -> None:
        self.partitions: list[TopicPartition] = []
        self.consumer = Consumer(config.consumer(settings, group=STAGE.group, client=STAGE.service))
        self.consumer.subscribe([settings.physical_topic("agent.jobs")], on_assign=self._assigned)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.partitions += partitions
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in partitions])

    async def joined(self) -> None:
        def polled() -> bool:
            self.consumer.poll(0)
            return bool(self.partitions)

        await until(polled, 60)


def instances(settings: MeshSettings) -> list[str]:
    return [member.client_id.rpartition("-")[2] for member in Group(settings, STAGE.group).members()]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_the_predecessor_leaves_and_others_stay(settings: MeshSettings, protocol: str) -> None:
    settings = settings.model_copy(update={"group_protocol": protocol, "instance": "a"})
    member = Silent(settings)
    try:
        await member.joined()
        other = settings.model_copy(update={"instance": "b"})
        await leave_for_predecessor(other, STAGE.group, STAGE.service)
        assert instances(settings) == ["a"]
        await leave_for_predecessor(settings, STAGE.group, STAGE.service)
        assert instances(settings) == []
    finally:
        await asyncio.to_thread(member.consumer.close)


async def test_a_new_worker_has_the_partitions_of_the_one_that_it_replaces(settings: MeshSettings) -> None:
    """The other one's client goes on with its heartbeats, so without a word from us its session would never end."""
    member = Silent(settings)
    try:
        await member.joined()
        produce(settings, "agent.jobs", [job(n, f"key-{n}") for n in range(30)])
        async with running(settings, Relay()) as worker:
            await until(lambda: worker.status()["finished"] == 30, 20)
            assert worker.status()["partitions"] == 3
    finally:
        await asyncio.to_thread(member.consumer.close)


async def test_a_broker_that_does_not_know_is_no_reason_to_stop(settings: MeshSettings) -> None:
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    await leave_for_predecessor(nowhere, STAGE.group, STAGE.service)
