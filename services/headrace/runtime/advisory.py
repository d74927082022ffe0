"""Records that nothing depends on: sent if that can be done now, dropped if not.

Outside of transactions, so that a reader has them while the work that they tell of still goes on, and at most once. Sending never
waits and never fails: a broker that is away, slow, or lacks the topic costs the records and nothing else. The client is made with
the first of them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from headrace.messages.base import Message
from headrace.messages.errors import BadMessage
from headrace.observe.metrics import ADVISORY
from headrace.runtime import config
from headrace.runtime.api import ClaimCheck
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

_CLOSE_S: Final = 1.0


class Advisory:
    """For one service, used on its event loop."""

    def __init__(self, settings: MeshSettings, service: str, claim_check: ClaimCheck) -> None:
        self._settings = settings
        self._wire = Wire(service, settings, claim_check, topics=())  # nothing that is advisory is Avro
        self._client = f"{service}.advisory"
        self._sent = ADVISORY.labels(service, "sent")
        self._dropped = ADVISORY.labels(service, "dropped")
        self._producer: Producer | None = None

    def send(self, message: Message) -> None:
        """Hand over, to be sent within some milliseconds."""
        if self._producer is None:
            self._producer = Producer(config.advisory_producer(self._settings, client=self._client))
        try:
            record = self._wire.encode_now(message)
            topic = self._settings.physical_topic(record.topic)
            headers: Any = record.headers
            self._producer.produce(topic, record.value, record.key, headers=headers, on_delivery=self._on_delivery)
        except (BadMessage, BufferError, KafkaException):
            self._dropped.inc()
        self._producer.poll(0)

    async def close(self) -> None:
        """What is handed over goes out within a second, or is dropped."""
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, _CLOSE_S)
            self._producer = None
        await self._wire.close()

    def _on_delivery(self, error: Any, _message: Any) -> None:
        (self._dropped if error else self._sent).inc()
