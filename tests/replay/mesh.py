"""Topics with the records of realistic runs, an index that persistence made of them, and rebuilds of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.settings import open_blobs
from headrace.messages.base import Message
from headrace.pipeline import STAGES, Stage
from headrace.postgres.pool import open_pool
from headrace.replay.census import Census
from headrace.replay.ledger import open_ledger
from headrace.replay.pace import Pace
from headrace.replay.plan import Plan, make_plan
from headrace.replay.rebuild import Rebuild, Report, Survey
from headrace.replay.service import Elsewhere, InThisProcess, Service
from headrace.replay.start import Earliest, Start
from headrace.replay.stock import open_stock
from headrace.runtime import config
from headrace.runtime.admin import Admin
from headrace.runtime.api import Send
from headrace.runtime.groups import Group, Member
from headrace.runtime.ranges import Ranges
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings
from tests.persistence.records import a_run

STAGE = STAGES["persistence"]
TIMEOUT_S = 30.0


class Listener:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.paces: list[Pace] = []
        self.texts: list[str] = []

    def surveyed(self, census: Census, span: int) -> None:
        assert census.total <= span

    def waiting(self, members: Sequence[Member]) -> None:
        self.texts.append(str(members))

    def said(self, text: str) -> None:
        self.texts.append(text)

    def paced(self, pace: Pace) -> None:
        self.paces.append(pace)


def runs(first: int, count: int, *, turns: int = 1) -> list[Message]:
    """All records of ``count`` runs, every third of which fails."""
    return [
        message
        for number in range(first, first + count)
        for message, _ in a_run(f"run-{number}", turns=turns, fails=number % 3 == 0, first_offset=number * 100)
    ]


async def write(
    settings: MeshSettings, messages: Sequence[Message], *, at_ms: int = 0, commit_every: int = 100
) -> None:
    """Into their topics, in transactions, so that offsets have gaps; ``at_ms`` is the records' time (0: now)."""
    wire = Wire("test", settings, MemoryBlobs())
    await wire.open()
    records = await wire.encode_all([Send(message) for message in messages], {})
    await wire.close()
    producer = Producer(config.transactional_producer(settings, transactional_id="test.writer"))
    await asyncio.to_thread(producer.init_transactions, 20)
    for start in range(0, len(records), commit_every):
        producer.begin_transaction()
        for record in records[start : start + commit_every]:
            producer.produce(
                settings.physical_topic(record.topic),
                record.value,
                record.key,
                headers=cast("Any", record.headers),
                timestamp=at_ms,
            )
        await asyncio.to_thread(producer.commit_transaction, 20)


async def filled(settings: MeshSettings, stage: Stage = STAGE) -> None:
    """Run the service, as its own process would, until it has read all that is there."""
    async with InThisProcess(stage.service, settings).running() as ended:
        async with asyncio.timeout(60):
            while await asyncio.to_thread(_lag, settings, stage):
                await asyncio.wait([ended], timeout=0.1)


def _lag(settings: MeshSettings, stage: Stage) -> int:
    return sum(one.lag for one in Admin(settings).group_lag(stage.group, stage.consumes).values())


async def rebuild(
    settings: MeshSettings,
    start: Start | None = None,
    *,
    stage: Stage = STAGE,
    empty: bool = False,
    service: Service | None = None,
    timeout_s: float = TIMEOUT_S,
    listener: Listener | None = None,
) -> tuple[Plan, Survey, Report]:
    plan = await asyncio.to_thread(make_plan, settings, stage, start or Earliest())
    async with prepared(settings, plan, listener, stage) as work:
        survey = await work.survey()
        service = service or InThisProcess(stage.service, settings)
        return plan, survey, await work.run(survey, service, empty=empty, timeout_s=timeout_s)


@asynccontextmanager
async def prepared(
    settings: MeshSettings, plan: Plan, listener: Listener | None = None, stage: Stage = STAGE
) -> AsyncIterator[Rebuild]:
    ends = {leg.where: leg.end for leg in plan.legs}
    async with (
        open_pool(settings, min_size=1, max_size=3) as pool,
        open_ledger(pool, ends) as ledger,
        open_stock(settings, stage, plan, open_blobs(settings, pool)) as stock,
    ):
        yield Rebuild(settings, stage, plan, ledger, stock, listener or Listener())


def committed(settings: MeshSettings) -> dict[tuple[str, int], tuple[int, str]]:
    """The group's offsets and metadata."""
    whole = Ranges(settings, "test").extents(STAGE.consumes)
    partitions = [(topic, number) for topic, extent in whole.items() for number in extent.partitions]
    return {
        where: (one.offset, one.metadata) for where, one in Group(settings, STAGE.group).committed(partitions).items()
    }


def set_committed(settings: MeshSettings, offsets: Mapping[tuple[str, int], tuple[int, str]]) -> None:
    """Commit for the group, with metadata, as nobody in particular."""
    consumer = Consumer(config.reader(settings, client="test") | {"group.id": config.group_id(settings, STAGE.group)})
    try:
        done = consumer.commit(
            offsets=[
                TopicPartition(settings.physical_topic(topic), number, offset, metadata)
                for (topic, number), (offset, metadata) in offsets.items()
            ],
            asynchronous=False,
        )
        assert not [entry.error for entry in done or [] if entry.error]
    finally:
        consumer.close()


def open_transaction(settings: MeshSettings, offsets: Mapping[tuple[str, int], int]) -> Producer:
    """A producer that has sent offsets of the group and not committed yet."""
    producer = Producer(config.transactional_producer(settings, transactional_id="test.killed"))
    producer.init_transactions(20)
    producer.begin_transaction()
    consumer = Consumer(config.reader(settings, client="test") | {"group.id": config.group_id(settings, STAGE.group)})
    try:
        sent = [TopicPartition(settings.physical_topic(t), n, offset) for (t, n), offset in offsets.items()]
        producer.send_offsets_to_transaction(sent, consumer.consumer_group_metadata(), 20)
    finally:
        consumer.close()
    return producer


def joined(settings: MeshSettings) -> None:
    """Wait until the group's member has its partitions."""
    deadline = time.monotonic() + 20
    while [member.partitions for member in Group(settings, STAGE.group).members()] != [6 * len(STAGE.consumes)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def empty(pool: asyncpg.Pool) -> None:
    await pool.execute("TRUNCATE runs, run_steps, agent_results, events, session_runs")


def environment(settings: MeshSettings) -> dict[str, str]:
    """For the command line, as a process of its own."""
    return os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": settings.schema_registry_url,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "HEADRACE_TOPIC_PREFIX": settings.topic_prefix,
    }


__all__ = ["Elsewhere", "InThisProcess", "Listener", "committed", "empty", "filled", "rebuild", "runs", "write"]
