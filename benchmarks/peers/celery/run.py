"""Celery on Redis: a chain of three tasks, the result in the result backend. See README.md for its modes."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import redis
from benchmarks.peerkit.client import drive
from benchmarks.peerkit.work import Blocking, Json, Spec, ready
from celery import Celery, chain
from celery.signals import worker_ready

SPEC = Spec.given()
STEPS = Blocking(SPEC)
PROCESSES = 2
LOOK_EVERY_S = 0.2
app = Celery(SPEC.run, broker=SPEC.servers["redis"], backend=SPEC.servers["redis"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=4 if SPEC.mode == "prefork" else 1,
    task_default_queue=SPEC.run,
    result_expires=3600,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_pool_limit=16,
)


@app.task(name="first")
def first(state: Json) -> Json:
    return state | {"call": STEPS.model1(state)}


@app.task(name="second")
def second(state: Json) -> Json:
    return state | {"rows": STEPS.tool(state["call"])}


@app.task(name="third")
def third(state: Json) -> Json:
    return STEPS.model2(state, state["rows"])


def work() -> None:
    worker_ready.connect(lambda **_: ready(), weak=False)
    concurrency = PROCESSES if SPEC.mode == "prefork" else SPEC.in_flight
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    app.worker_main(["worker", "-P", SPEC.mode, "-c", str(concurrency), *quiet])


class Client:
    """Submits in a thread of its own (an ``apply_async`` is a millisecond) and reads the results by MGET, as cheap as it gets."""

    def __init__(self) -> None:
        self._redis: Any = redis.from_url(SPEC.servers["redis"])
        self._numbers: SimpleQueue[int] = SimpleQueue()
        self._open: dict[str, int] = {}
        self._lock, self._next = threading.Lock(), 0.0
        self._wrong = 0
        threading.Thread(target=self._submit, daemon=True).start()

    def _submit(self) -> None:
        while True:
            number = self._numbers.get()
            task = chain(first.s(SPEC.invocation(number)), second.s(), third.s()).apply_async()
            with self._lock:
                self._open[f"celery-task-meta-{task.id}"] = number

    def submit(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._numbers.put(number)

    def arrived(self, timeout_s: float) -> list[tuple[int, float]]:
        if time.time() < self._next:
            time.sleep(timeout_s)
            return []
        self._next = time.time() + LOOK_EVERY_S
        with self._lock:
            keys = list(self._open)[:2_000]
        values = self._redis.mget(keys) if keys else []
        found = []
        for key, value in zip(keys, values, strict=True):
            if value:
                with self._lock:
                    number = self._open.pop(key)
                found.append((number, self._finished(json.loads(value), number)))
        return found

    def _finished(self, meta: Json, number: int) -> float:
        """When its last task was done, by the worker's own word: the client looks only now and then."""
        self._wrong += number >= 0 and (meta["status"] != "SUCCESS" or not SPEC.is_right(meta["result"], number))
        return datetime.fromisoformat(meta["date_done"]).replace(tzinfo=UTC).timestamp()

    def flush(self) -> None:
        pass

    def verify(self) -> int:
        return self._wrong


def main() -> None:
    command = sys.argv[1]
    if command == "setup":
        redis.from_url(SPEC.servers["redis"]).flushall()
    elif command == "worker":
        work()
    else:
        drive(Client(), SPEC)


if __name__ == "__main__":
    main()
