"""A compacted topic held whole in memory by each instance, followed as it grows (a global table).

A thread of its own reads all partitions from the beginning, hands each record to the event loop, and says when the end that was
there at the start is reached. No group and no commits: a table is read anew by every process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from headrace.messages import headers as record_headers
from headrace.messages.base import Message
from headrace.messages.codec import Codec
from headrace.messages.errors import BadMessage, FatalError
from headrace.observe.logging import get_logger
from headrace.runtime import config
from headrace.runtime.cluster import not_allowed_to_read
from headrace.settings import MeshSettings

log = get_logger(__name__)

OnMessage = Callable[[str, Message | None], None]


class Table:
    """Calls ``on_message(key, message)`` in the event loop, ``None`` for a deleted key.

    A record that can't be decoded is skipped, with a log line.
    """

    def __init__(self, settings: MeshSettings, topic: str, on_message: OnMessage) -> None:
        self._settings = settings
        self._topic = topic
        self._on_message = on_message
        self._codec = Codec()
        self._stop_asked = threading.Event()
        self._ready = asyncio.Event()
        self._refused: FatalError | None = None
        self._told = asyncio.Event()  # ready, or refused
        self._thread = threading.Thread(target=self._run, name=f"table-{topic}", daemon=True)

    async def start(self) -> None:
        """Returns when everything that was there is read. Waits for a broker or a topic that is not there yet.

        Raises ``FatalError`` where Kafka lets this client not read the topic; should it do so later, the table comes in by itself.
        """
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        await self._told.wait()
        if self._refused is not None:
            raise self._refused

    def ready(self) -> bool:
        return self._ready.is_set()

    async def stop(self) -> None:
        self._stop_asked.set()
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        consumer = Consumer(config.reader(self._settings, client=f"table.{self._topic}"))
        try:
            behind = self._assign(consumer)
            self._report(behind)
            while not self._stop_asked.is_set():
                message = consumer.poll(0.1)
                if message is not None:
                    self._take(message, behind)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> set[int]:
        """Assign every partition from its beginning; the ones that have anything to read."""
        topic = self._settings.physical_topic(self._topic)
        while not self._stop_asked.is_set():
            try:
                found = consumer.list_topics(topic, timeout=5.0).topics[topic]
                if found.error is None and found.partitions:
                    partitions = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]
                    consumer.assign(partitions)
                    return set(found.partitions)
                if found.error is not None and found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    self._refuse()
                else:
                    log.warning("table_topic_missing", topic=topic, hint="headrace topics apply")
            except KafkaException as error:
                log.warning("table_unavailable", topic=topic, error=str(error.args[0]))
            self._stop_asked.wait(0.5)
        return set()

    def _take(self, message: KafkaMessage, behind: set[int]) -> None:
        if error := message.error():
            if error.code() == KafkaError._PARTITION_EOF and behind:
                behind.discard(message.partition() or 0)
                self._report(behind)
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._refuse()
                self._stop_asked.wait(0.5)
            elif error.code() != KafkaError._PARTITION_EOF:
                log.warning("table_error", topic=self._topic, error=error.str())
                time.sleep(0.1)
            return
        key, value = message.key(), message.value()
        headers = record_headers.decode(cast("record_headers.RawHeaders", message.headers()))
        try:
            decoded = None if value is None else self._codec.decode(self._topic, key, value, headers)
        except BadMessage as bad:
            log.error("table_record_skipped", topic=self._topic, offset=message.offset(), error=str(bad))
            return
        name = (key or b"").decode("utf-8", "replace")
        self._post(self._on_message, name, decoded)

    def _refuse(self) -> None:
        topic = self._settings.physical_topic(self._topic)
        log.error("table_refused", topic=topic)
        self._post(self._tell, not_allowed_to_read(topic))

    def _report(self, behind: set[int]) -> None:
        if not behind:
            self._post(self._tell, None)

    def _tell(self, refused: FatalError | None) -> None:
        if refused is None:
            self._ready.set()
        if not self._told.is_set():
            self._refused = refused
        self._told.set()

    def _post(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.debug("loop_closed")
