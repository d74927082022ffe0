"""Lives written to the topics of a real mesh, each record at its own time, and filed in its index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

from confluent_kafka import Producer

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.agent import AgentDefinition
from headrace.messages.base import Message
from headrace.registry.catalog import records_of
from headrace.runtime import config
from headrace.runtime.api import Send
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings
from tests.replay.lives import Life
from tests.replay.mesh import filled

HOUR_MS = 3_600_000


def an_hour_ago() -> int:
    """Epoch ms: brokers refuse records of the future."""
    return time.time_ns() // 1_000_000 - HOUR_MS


async def publish(settings: MeshSettings, *definitions: AgentDefinition) -> None:
    await produce(settings, [(record, 0) for definition in definitions for record in records_of(definition)])


async def store(settings: MeshSettings, lives: Sequence[Life]) -> None:
    """In one transaction; then the index is made of them."""
    await produce(settings, [record for life in lives for record in life.records])
    await filled(settings)


async def produce(settings: MeshSettings, records: Sequence[tuple[Message, int]]) -> None:
    """Messages with their times (epoch ms; 0: now), in one transaction."""
    wire = Wire("test", settings, MemoryBlobs())
    await wire.open()
    encoded = await wire.encode_all([Send(message) for message, _ in records], {})
    await wire.close()
    producer = Producer(config.transactional_producer(settings, transactional_id="test.lives"))
    await asyncio.to_thread(producer.init_transactions, 20)
    producer.begin_transaction()
    for record, (_, at_ms) in zip(encoded, records, strict=True):
        name = settings.physical_topic(record.topic)
        headers = cast("Any", record.headers)
        producer.produce(name, record.value, record.key, headers=headers, timestamp=at_ms)
    await asyncio.to_thread(producer.commit_transaction, 20)
