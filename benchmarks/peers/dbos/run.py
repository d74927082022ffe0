"""DBOS on Postgres: a workflow of three steps, in one worker. See README.md for its modes."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from benchmarks.peerkit.client import drive, drive_calls
from benchmarks.peerkit.work import Json, Spec, Steps, dumps, ready
from dbos import DBOS, DBOSClient, SetWorkflowID

CONNECTIONS = 20  # its default
POLL_S = 0.05  # its default of 1 s would be half a second of each latency
LOOK_EVERY_S = 0.2
QUEUE = "agents"


def database(spec: Spec) -> str:
    return urlunsplit(urlsplit(spec.servers["postgres"])._replace(path=f"/{name(spec)}"))


def name(spec: Spec) -> str:
    return f"bench_{spec.run}"


async def set_up(spec: Spec) -> None:
    """A database for the run; those of earlier runs go."""
    connection = await asyncpg.connect(spec.servers["postgres"])
    for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'bench_%'"):
        await connection.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
    await connection.execute(f"CREATE DATABASE {name(spec)}")
    await connection.close()


def workflow(spec: Spec) -> Any:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": database(spec),
            "log_level": "WARNING",
            "sys_db_pool_size": CONNECTIONS,
            "run_admin_server": False,
            "application_version": "1",
        }
    )
    steps = Steps(spec)

    @DBOS.step()
    async def model1(invocation: Json) -> Json:
        return await steps.model1(invocation)

    @DBOS.step()
    async def tool(call: Json) -> Json:
        return await steps.tool(call)

    @DBOS.step()
    async def model2(invocation: Json, rows: Json) -> Json:
        return await steps.model2(invocation, rows)

    @DBOS.workflow(name="agent")
    async def agent(invocation: Json) -> Json:
        rows = await tool(await model1(invocation))
        result: Json = await model2(invocation, rows)
        return result

    return agent


def work(spec: Spec) -> None:
    agent = workflow(spec)
    DBOS.launch()
    if spec.mode == "queue":
        DBOS.register_queue(QUEUE, worker_concurrency=spec.in_flight, polling_interval_sec=POLL_S)
        ready()
        threading.Event().wait()
    else:
        asyncio.run(serve_lines(agent, spec))


async def serve_lines(agent: Any, spec: Spec) -> None:
    """A line in starts a workflow, a line out is its durable result."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks = set[asyncio.Task[None]]()

        async def one(invocation: Json) -> None:
            with SetWorkflowID(invocation["id"]):
                writer.write(dumps(await agent(invocation)) + b"\n")

        while line := await reader.readline():
            task = asyncio.create_task(one(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_unix_server(connected, socket_path(spec), limit=2**20)
    ready()
    await server.serve_forever()


def socket_path(spec: Spec) -> str:
    return f"{spec.report}.sock"


async def call_lines(spec: Spec) -> None:
    reader, writer = await asyncio.open_unix_connection(socket_path(spec), limit=2**20)
    waiting: dict[str, asyncio.Future[Json]] = {}

    async def read() -> None:
        while line := await reader.readline():
            result = json.loads(line)
            waiting.pop(result["id"]).set_result(result)

    async def call(number: int, invocation: Json) -> Json:
        waiting[invocation["id"]] = asyncio.get_running_loop().create_future()
        writer.write(dumps(invocation) + b"\n")
        return await waiting[invocation["id"]]

    reading = asyncio.create_task(read())
    await drive_calls(call, spec, spec.in_flight)
    reading.cancel()


class Queue:
    """Enqueues from eight threads; completion and its time are read from DBOS's own table."""

    def __init__(self, spec: Spec) -> None:
        self._spec, self._client = spec, DBOSClient(system_database_url=database(spec))
        self._threads, self._pending = ThreadPoolExecutor(8), list[Future[Any]]()
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(database(spec)))
        self._seen, self._next = set[str](), 0.0

    def submit(self, numbers: Sequence[int]) -> None:
        self._pending += [self._threads.submit(self._put, self._spec.invocation(number)) for number in numbers]

    def _put(self, invocation: Json) -> None:
        options = {"queue_name": QUEUE, "workflow_name": "agent", "workflow_id": invocation["id"]}
        self._client.enqueue(options, invocation)

    def arrived(self, timeout_s: float) -> list[tuple[int, float]]:
        if time.time() < self._next:
            time.sleep(timeout_s)
            return []
        self._next = time.time() + LOOK_EVERY_S
        query = "SELECT workflow_uuid AS id, completed_at AS at FROM dbos.workflow_status WHERE status = 'SUCCESS'"
        rows = self._loop.run_until_complete(self._connection.fetch(query))
        new = [row for row in rows if row["id"] not in self._seen]
        self._seen |= {row["id"] for row in new}
        return [(self._spec.number(row["id"]), row["at"] / 1000) for row in new]

    def flush(self) -> None:
        for future in self._pending:
            future.result()
        self._pending.clear()

    def verify(self) -> int:
        wrong = 0
        for found in self._client.list_workflows(status="SUCCESS"):
            number = self._spec.number(found.workflow_id)
            wrong += number >= 0 and not self._spec.is_right(found.output, number)
        return wrong


def main() -> None:
    spec, command = Spec.given(), sys.argv[1]
    if command == "setup":
        asyncio.run(set_up(spec))
    elif command == "worker":
        work(spec)
    elif spec.mode == "queue":
        drive(Queue(spec), spec)
    else:
        asyncio.run(call_lines(spec))


if __name__ == "__main__":
    main()
