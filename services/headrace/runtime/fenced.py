"""Writing what was decided by what is there: nobody else has written in between, or nothing is written.

All who write so share one transactional id. Whoever begins ends the transactions of those before and shuts them out; what it
reads from then on is what its own writing comes after. If somebody begins after it, it is shut out itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from confluent_kafka import KafkaError, KafkaException, Producer

from headrace.messages.base import Message
from headrace.messages.codec import Encoded
from headrace.messages.errors import DependencyUnavailable
from headrace.runtime import config
from headrace.runtime.api import ClaimCheck, Send
from headrace.runtime.cluster import translated
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

_LIMIT_S: Final = 20.0
_FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


class Overtaken(DependencyUnavailable):
    """Somebody else began to write; nothing is written. Decide anew."""


class Fenced:
    """Made by ``fenced``. Writes once."""

    def __init__(self, producer: Producer, wire: Wire, prefix: str) -> None:
        self._producer = producer
        self._wire = wire
        self._prefix = prefix

    async def write(self, messages: Sequence[Message]) -> None:
        """All of them, in one transaction. Raises ``Overtaken``; ``DependencyUnavailable`` says that nobody knows."""
        records = await self._wire.encode_all([Send(message) for message in messages], {})
        try:
            await asyncio.to_thread(self._commit, records)
        except KafkaException as error:
            raise _translated(error) from None

    def _commit(self, records: Sequence[Encoded]) -> None:
        self._producer.begin_transaction()
        for record in records:
            topic, headers = self._prefix + record.topic, cast("list[Any]", record.headers)
            self._producer.produce(topic, record.value, record.key, headers=headers)
        self._producer.commit_transaction(_LIMIT_S)


@asynccontextmanager
async def fenced(settings: MeshSettings, name: str, claim_check: ClaimCheck) -> AsyncIterator[Fenced]:
    """Entered when all who began before are shut out. ``name`` is what such writers share.

    Raises ``DependencyUnavailable`` while Kafka is away, ``Overtaken`` if somebody begins at the same moment.
    """
    wire = Wire(name, settings, claim_check, topics=())  # what is written so is not Avro
    producer = Producer(config.transactional_producer(settings, transactional_id=f"headrace.{name}"))
    try:
        await wire.open()
        await asyncio.to_thread(_begun, producer)
        yield Fenced(producer, wire, settings.topic_prefix)
    except KafkaException as error:
        raise _translated(error) from None
    finally:
        await wire.close()


def _begun(producer: Producer) -> None:
    producer.list_topics(timeout=_LIMIT_S)  # asked for a coordinator before it has a connection, it waits half a second
    producer.init_transactions(_LIMIT_S)


def _translated(error: KafkaException) -> Exception:
    reason = error.args[0]
    if isinstance(reason, KafkaError) and reason.code() in _FENCED:
        return Overtaken("somebody else changes the same at this moment", retry_after=1.0)
    return translated(error)
