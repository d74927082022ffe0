"""Invariants of the runtime that need the real broker to be wrong, or to be asked: 2, 6, 8, 14, 15; and the claim check.

The others are held by the simulation (1, 3, 4, 5, 7, 12, 13), ``test_worker`` (1, 3, 5, 9: a straggler does not keep the others'
transactions open) and ``tests/faults`` (all but 11).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.errors import FatalError
from headrace.messages.job import Job
from headrace.runtime import config, transactions
from headrace.runtime.engine import Tenancy
from headrace.runtime.retry import RetryPolicy
from headrace.runtime.tracker import Tracker
from headrace.runtime.transactions import Outcome, Transactions, committed_offsets
from headrace.settings import MeshSettings
from tests.runtime.kafka import produce, read_all
from tests.runtime.relay import STAGE, Relay, job
from tests.runtime.running import running, until


class LostAnswers:
    """Producers whose first commits are answered by a time-out; ``before``: the commit itself is lost too."""

    def __init__(self, losses: int, *, before: bool) -> None:
        self.made = 0
        self.lost = 0
        losing = self

        class LosingProducer(Producer):
            def __init__(self, settings: dict[str, Any]) -> None:
                super().__init__(settings)
                losing.made += 1

            def commit_transaction(self, *args: Any) -> None:
                lose = losing.lost < losses
                if not (lose and before):
                    super().commit_transaction(*args)
                if lose:
                    losing.lost += 1
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "injected", retriable=True))

        self.producer = LosingProducer


@pytest.mark.parametrize("before", [True, False])
async def test_an_ambiguous_commit_is_resolved_never_guessed(
    settings: MeshSettings, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """8, 2: a new producer, then the committed offsets say whether it happened."""
    losses = LostAnswers(3, before=before)
    monkeypatch.setattr(transactions, "Producer", losses.producer)
    relay = Relay(lambda _job: 0.005)
    async with running(settings, relay) as worker:
        for first in range(0, 40, 10):  # each ten takes a transaction at least
            produce(settings, "agent.jobs", [job(n, f"key-{n % 5}") for n in range(first, first + 10)])
            await until(lambda due=first + 10: len(read_all(settings, "relayed")) >= due, 60)
        assert worker.status()["finished"] == 40
    assert losses.lost == 3
    assert losses.made == 2 + 3
    names = [msgspec.json.decode(record.value, type=Job).job_id for record in read_all(settings, "relayed")]
    assert sorted(names) == sorted(f"job-{n}" for n in range(40))
    assert sorted(r.value for r in read_all(settings, "copied")) == sorted(
        r.value for r in read_all(settings, "relayed")
    )
    assert len(relay.started) == 40, "finished work is not done again for an ambiguous commit"


@pytest.mark.parametrize("before", [True, False])
async def test_a_call_that_hangs_is_given_up_with_its_producer(
    settings: MeshSettings, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """13, 8: librdkafka may never come back from sending offsets. ``before``: they do not even get to the broker."""
    released, hung, made = threading.Event(), list[Producer](), list[int]()

    class HangingProducer(Producer):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            made.append(1)

        def send_offsets_to_transaction(self, *args: Any) -> None:
            hang = not hung
            if hang:
                hung.append(self)
            if not (hang and before):
                super().send_offsets_to_transaction(*args)
            if hang:
                released.wait()

    monkeypatch.setattr(transactions, "Producer", HangingProducer)
    monkeypatch.setattr(transactions, "_HUNG_AFTER_S", 0.5)
    monkeypatch.setattr(config, "COMMIT_TIMEOUT_S", 1.0)
    produce(settings, "agent.jobs", [job(n, f"key-{n % 5}") for n in range(40)])
    relay = Relay(lambda _job: 0.005)
    try:
        async with running(settings, relay) as worker:
            await until(lambda: len(read_all(settings, "relayed")) >= 40, 60)
            assert worker.status()["finished"] == 40
    finally:
        released.set()
    assert len(hung) == 1
    assert len(made) == 2 + 1
    names = [msgspec.json.decode(record.value, type=Job).job_id for record in read_all(settings, "relayed")]
    assert sorted(names) == sorted(f"job-{n}" for n in range(40))
    assert len(relay.started) == 40


class Member:
    """A consumer of the relay's group, with its partitions and the token of their assignment."""

    def __init__(self, settings: MeshSettings) -> None:
        self.owned: dict[int, Any] = {}
        self.consumer = Consumer(config.consumer(settings, group=STAGE.group, client="member"))
        self.consumer.subscribe(
            [settings.physical_topic("agent.jobs")], on_assign=self._assigned, on_revoke=self._gone, on_lost=self._gone
        )

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        token = consumer.consumer_group_metadata()
        self.owned |= {entry.partition: token for entry in partitions}
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in partitions])

    def _gone(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for entry in partitions:
            self.owned.pop(entry.partition, None)
        consumer.incremental_unassign(partitions)


async def polled(members: Collection[Member], done: Callable[[], bool]) -> None:
    def step() -> bool:
        for member in members:
            member.consumer.poll(0)
        return done()

    await until(step, 60)


async def owning(wanted: dict[Member, int]) -> None:
    await polled(wanted, lambda: all(len(member.owned) == count for member, count in wanted.items()))


async def until_balanced(first: Member, second: Member) -> None:
    await polled((first, second), lambda: bool(second.owned) and not first.owned.keys() & second.owned.keys())


def commit_as(settings: MeshSettings, partition: int, token: Any, offset: int) -> Outcome:
    producer = Transactions(
        settings,
        service="tenancy-test",
        offsets=committed_offsets(settings, STAGE.group),
        stopping=threading.Event(),
    )
    tenancy = Tenancy(topic="agent.jobs", partition=partition, tracker=Tracker(0), token=token, new_work=True)
    return producer.commit([], [(tenancy, offset, "")])


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_a_commit_for_a_lost_partition_is_refused(settings: MeshSettings, protocol: str) -> None:
    """6: the broker checks the token of the assignment, also when the partition came back in between."""
    settings = settings.model_copy(update={"group_protocol": protocol})
    first = Member(settings)
    second = None
    try:
        await owning({first: 3})
        old = dict(first.owned)
        second = Member(settings)
        await until_balanced(first, second)
        lost = next(iter(second.owned))
        assert await asyncio.to_thread(commit_as, settings, lost, old[lost], 5) is Outcome.REFUSED
        assert await asyncio.to_thread(commit_as, settings, lost, second.owned[lost], 6) is Outcome.COMMITTED
        await asyncio.to_thread(second.consumer.close)
        second = None
        await owning({first: 3})
        assert await asyncio.to_thread(commit_as, settings, lost, old[lost], 7) is Outcome.REFUSED
        assert await asyncio.to_thread(commit_as, settings, lost, first.owned[lost], 8) is Outcome.COMMITTED
    finally:
        for member in filter(None, (first, second)):
            await asyncio.to_thread(member.consumer.close)


def commit_by_hand(settings: MeshSettings, offset: int, metadata: str) -> None:
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.topic_prefix + STAGE.group}
    )
    topic = settings.physical_topic("agent.jobs")
    consumer.commit(offsets=[TopicPartition(topic, p, offset, metadata) for p in range(3)], asynchronous=False)
    consumer.close()


async def stops_without_starting(settings: MeshSettings, reason: str) -> None:
    relay = Relay()
    async with running(settings, relay) as worker:
        with pytest.raises(FatalError, match=reason):
            await asyncio.wait_for(worker.wait(), 30)
    assert relay.started == []


async def test_corrupt_commit_metadata_stops_the_worker(settings: MeshSettings) -> None:
    """14"""
    produce(settings, "agent.jobs", [job(n, f"key-{n}") for n in range(10)])
    commit_by_hand(settings, 1, "hr1:damaged")
    await stops_without_starting(settings, "not an intact offset map")


async def test_a_committed_offset_that_retention_deleted_stops_the_worker(settings: MeshSettings) -> None:
    """14"""
    produce(settings, "agent.jobs", [job(n, f"key-{n}") for n in range(60)])
    commit_by_hand(settings, 1, "")
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    topic = settings.physical_topic("agent.jobs")
    for future in admin.delete_records([TopicPartition(topic, p, 5) for p in range(3)]).values():
        future.result(20)
    await stops_without_starting(settings, "out of range")


async def test_a_key_that_fails_delays_no_other_key(settings: MeshSettings) -> None:
    """15: even with one place in flight, which a waiting retry gives back."""
    records = [job(0, "bad", "away:1000000"), *(job(n, f"key-{n}") for n in range(1, 60))]
    produce(settings, "agent.jobs", records)
    patient = RetryPolicy(first_s=0.2, longest_s=0.2)
    quick = settings.model_copy(update={"drain_seconds": 0.5})
    async with running(quick, Relay(), retry=patient) as worker:
        await until(lambda: worker.status()["finished"] == 59)
    assert len(read_all(settings, "relayed")) == 59


async def test_a_value_past_the_bound_becomes_a_claim_check(settings: MeshSettings) -> None:
    """In and out: the record carries a reference, the next reader sees the message."""
    small = settings.model_copy(update={"max_record_bytes": 10_000})
    blobs = MemoryBlobs()
    text = "x" * 50_000
    produce(settings, "agent.jobs", [job(1, "k", text)])
    async with running(small, Relay(), blobs=blobs) as worker:
        await until(lambda: worker.status()["finished"] == 1)
    record = read_all(settings, "relayed")[0]
    assert record.value == b""
    ref = record.headers["ce_dataref"]
    assert msgspec.json.decode(await blobs.get(ref), type=Job).prompt == text
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    producer.produce(settings.physical_topic("agent.jobs"), b"", "k", headers=[("ce_dataref", ref.encode())])
    producer.flush(10)
    relay = Relay()
    async with running(settings, relay, blobs=blobs) as worker:
        await until(lambda: worker.status()["finished"] == 1)
    assert relay.started == ["job-1"]
