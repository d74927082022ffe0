"""Jobs with unique names, produced at a rate, with a log of what was asked for and what was answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from headrace.settings import MeshSettings
from tests.faults.journal import Journal
from tests.runtime.relay import job

Prompt = Callable[[int], str]


class Load(threading.Thread):
    """``invoke`` is noted before a job is sent, then ``ok``, ``fail`` (it is not there) or ``unknown`` (it may be).

    ``rate`` is a second. ``prompt`` gives a job's prompt by its number. Keys are ``keys`` many; jobs that stand still have a key of
    their own, so that it shows whom they hold up.
    """

    def __init__(
        self, settings: MeshSettings, folder: Path, *, rate: float, keys: int, prompt: Prompt, rng: random.Random
    ) -> None:
        super().__init__(name="load", daemon=True)
        self._settings, self._rate, self._keys, self._prompt = settings, rate, keys, prompt
        self._rng = random.Random(rng.random())
        self._journal = Journal(folder / "load.jsonl")
        self._stopped = threading.Event()
        self.failure: BaseException | None = None
        self.sent = 0

    def run(self) -> None:
        try:
            self._produce()
        except BaseException as failure:
            self.failure = failure

    def _produce(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self._settings.kafka_bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "delivery.timeout.ms": 60_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        topic = self._settings.physical_topic("agent.jobs")
        began = time.monotonic()
        while not self._stopped.is_set():
            prompt = self._prompt(self.sent)
            key = f"key-{self._rng.randrange(self._keys)}" if prompt == "x" else f"still-{self.sent}"
            name, (_, value) = f"job-{self.sent}", job(self.sent, key, prompt)
            self._journal.note("invoke", job=name, key=key, prompt=prompt)
            producer.produce(topic, value, key, on_delivery=lambda e, m, name=name: self._answer(name, e, m))
            producer.poll(0)
            self.sent += 1
            self._stopped.wait(max(0.0, began + self.sent / self._rate - time.monotonic()))
        assert producer.flush(90) == 0, "the load was not answered"

    def _answer(self, name: str, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._journal.note("ok", job=name, partition=message.partition(), offset=message.offset())
        else:
            sure = error.code() == KafkaError._PURGE_QUEUE
            self._journal.note("fail" if sure else "unknown", job=name, error=error.name())

    def finish(self) -> None:
        """Stop, and wait until everything that was sent is answered."""
        self._stopped.set()
        self.join(100)
        if self.failure:
            raise self.failure
        assert not self.is_alive(), "the load did not end"

    def abandon(self) -> None:
        """Stop, whatever becomes of it."""
        self._stopped.set()
