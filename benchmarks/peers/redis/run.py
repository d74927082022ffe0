"""A list worker on Redis, as one would write it: asyncio, ``in_flight`` invocations at a time. See README.md for its modes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
import uvloop
from benchmarks.peerkit.client import drive
from benchmarks.peerkit.work import Json, Spec, Steps, dumps, ready

CONNECTIONS = 128
FETCH = 50  # jobs taken in one round trip


class Queues:
    """Names of a run's lists, and of an invocation's hash."""

    def __init__(self, run: str) -> None:
        self.jobs, self.taken, self.done = f"{run}:jobs", f"{run}:taken", f"{run}:done"
        self._run = run

    def state(self, invocation_id: str) -> str:
        return f"{self._run}:state:{invocation_id}"


class Worker:
    def __init__(self, spec: Spec) -> None:
        url = spec.servers["redis"]
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=min(spec.in_flight, CONNECTIONS), timeout=None
        )
        self._redis: Any = redis.asyncio.Redis(connection_pool=pool)
        self._fetching: Any = redis.asyncio.from_url(url)
        self._reliable = spec.mode == "blmove"
        self._queues, self._steps = Queues(spec.run), Steps(spec)
        self._slots = asyncio.Semaphore(spec.in_flight)

    async def run(self) -> None:
        if self._reliable:  # what a killed worker had taken goes back first
            while await self._fetching.lmove(self._queues.taken, self._queues.jobs, "RIGHT", "RIGHT"):
                pass
        ready()
        tasks = set[asyncio.Task[None]]()
        while True:
            room = await self._room()
            jobs = await self._take(room)
            for _ in range(room - len(jobs)):
                self._slots.release()
            for job in jobs:
                task = asyncio.create_task(self._handle(job.decode()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _room(self) -> int:
        await self._slots.acquire()
        room = 1
        while room < FETCH and not self._slots.locked():
            await self._slots.acquire()
            room += 1
        return room

    async def _take(self, room: int) -> list[bytes]:
        queues = self._queues
        if not self._reliable:
            if jobs := await self._fetching.rpop(queues.jobs, room):
                return list(jobs)
            popped = await self._fetching.brpop([queues.jobs], 1)
            return [popped[1]] if popped else []
        pipeline = self._fetching.pipeline(transaction=False)
        for _ in range(room):
            pipeline.lmove(queues.jobs, queues.taken, "RIGHT", "LEFT")
        if jobs := [job for job in await pipeline.execute() if job]:
            return jobs
        moved = await self._fetching.blmove(queues.jobs, queues.taken, 1, "RIGHT", "LEFT")
        return [moved] if moved else []

    async def _handle(self, job: str) -> None:
        """Every step's outcome is written before the next; recorded steps are not run again."""
        try:
            key = self._queues.state(job)
            state = await self._redis.hgetall(key)
            invocation = loads(state[b"invocation"])
            if b"call" in state:
                call = loads(state[b"call"])
            else:
                call = await self._steps.model1(invocation)
                await self._redis.hset(key, "call", dumps(call))
            if b"rows" in state:
                rows = loads(state[b"rows"])
            else:
                rows = await self._steps.tool(call)
                await self._redis.hset(key, "rows", dumps(rows))
            await self._finish(job, await self._steps.model2(invocation, rows))
        finally:
            self._slots.release()

    async def _finish(self, job: str, result: Json) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(self._queues.state(job), "result", dumps(result))
        if self._reliable:
            pipeline.lrem(self._queues.taken, -1, job)
        pipeline.rpush(self._queues.done, dumps(result))  # what the client waits on
        await pipeline.execute()


class Client:
    def __init__(self, spec: Spec) -> None:
        self._spec, self._queues = spec, Queues(spec.run)
        self._redis: Any = redis.from_url(spec.servers["redis"])
        self._seen: list[tuple[int, Json]] = []

    def submit(self, numbers: Sequence[int]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for number in numbers:
            invocation = self._spec.invocation(number)
            pipeline.hset(self._queues.state(invocation["id"]), "invocation", dumps(invocation))
            pipeline.lpush(self._queues.jobs, invocation["id"])
        pipeline.execute()

    def arrived(self, timeout_s: float) -> list[tuple[int, float]]:
        values = self._redis.lpop(self._queues.done, 1_000) or []
        if not values and timeout_s > 0.001:
            popped = self._redis.blpop([self._queues.done], timeout_s)
            values = [popped[1]] if popped else []
        now = time.time()
        found = [(self._spec.number(result["id"]), result) for result in map(loads, values)]
        self._seen += found
        return [(number, now) for number, _ in found]

    def flush(self) -> None:
        pass

    def verify(self) -> int:
        return sum(not self._spec.is_right(result, number) for number, result in self._seen if number >= 0)


def loads(value: bytes) -> Json:
    found: Json = json.loads(value)
    return found


def main() -> None:
    spec = Spec.given()
    if sys.argv[1] == "setup":
        redis.from_url(spec.servers["redis"]).flushall()
    elif sys.argv[1] == "worker":
        uvloop.run(Worker(spec).run())
    else:
        drive(Client(spec), spec)


if __name__ == "__main__":
    main()
