"""Clients for the tests of the stack: write something to each server and read it back."""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headrace.local.endpoints import Endpoints
from headrace.local.stack import Stack
from tests.support.stack import data_folder

TOPIC = "kept"


@contextmanager
def own_stack(**options: object) -> Iterator[Stack]:
    """A stack of the test's own, not started; stopped and removed at the end."""
    with data_folder() as folder:
        stack = Stack(folder, fast=True, **options)  # type: ignore[arg-type]
        try:
            yield stack
        finally:
            stack.stop()


def create_topic(servers: str, topic: str = TOPIC, replicas: int = 1) -> None:
    """Creates a topic of one partition."""
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(topic, 1, replicas)], operation_timeout=60).values():
        future.result(timeout=70)


def produce(servers: str, value: bytes, topic: str = TOPIC) -> None:
    """Produces with acks=all, idempotently, and raises unless it was acknowledged."""
    failures: list[object] = []
    # A paused broker accepts connections and never answers: give up on it soon, on the record late.
    quick = {"socket.timeout.ms": 3_000, "api.version.request.timeout.ms": 3_000}
    producer = Producer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "message.timeout.ms": 90_000, **quick}
    )
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    left = producer.flush(100)
    assert not failures, failures
    assert left == 0


def consume(servers: str, count: int, topic: str = TOPIC) -> list[bytes]:
    """The first `count` values of partition 0."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "probe", "enable.auto.commit": False})
    values: list[bytes] = []
    deadline = time.monotonic() + 60
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                values.append(message.value() or b"")
    finally:
        consumer.close()
    return values


def registry_call(url: str, method: str, path: str, body: object = None) -> object:
    """The registry's answer to one request."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, where.path + path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)
    finally:
        connection.close()


def execute(url: str, *statements: str) -> None:
    """Runs SQL statements."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch_value(url: str, query: str) -> object:
    """The single value that a query returns."""

    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


def write_everywhere(endpoints: Endpoints, value: str) -> None:
    """Puts `value` into Kafka (topic made before), the registry and PostgreSQL."""
    create_topic(endpoints.kafka_bootstrap_servers)
    produce(endpoints.kafka_bootstrap_servers, value.encode())
    schema = json.dumps({"type": "record", "name": value, "fields": []})
    registry_call(endpoints.schema_registry_url, "POST", "/subjects/kept/versions", {"schema": schema})
    execute(endpoints.database_url, "CREATE TABLE kept (v text)", f"INSERT INTO kept VALUES ('{value}')")


def read_everywhere(endpoints: Endpoints) -> tuple[str, str, str]:
    """What `write_everywhere` has put there: from Kafka, from the registry, from PostgreSQL."""
    (record,) = consume(endpoints.kafka_bootstrap_servers, 1)
    answer = registry_call(endpoints.schema_registry_url, "GET", "/subjects/kept/versions/latest")
    assert isinstance(answer, dict)
    row = fetch_value(endpoints.database_url, "SELECT v FROM kept")
    return record.decode(), json.loads(answer["schema"])["name"], str(row)


def processes_of(folder: Path) -> list[psutil.Process]:
    """All processes whose command line names something in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        arguments = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(folder) in part for part in arguments):
            found.append(process)
    return found


def wait_until_gone(folder: Path, seconds: float = 60) -> list[psutil.Process]:
    """Waits until there is none of them left; returns those that are."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
