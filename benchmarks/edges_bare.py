"""Yardsticks of the edges: what the server, the client and the database cost, with no work in between.

    python -m benchmarks.edges_bare app --port PORT
    python -m benchmarks.edges_bare loop TOPIC... [--to TOPIC]

*app*: uvicorn with a Starlette route that reads the body and answers 202; it checks nothing and keeps nothing. *loop*: librdkafka
reads the topics (and writes each record to another), exactly once, 1,000 records a transaction; it decodes nothing. Both run until
SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import threading
import time
from typing import Any, cast

import asyncpg
import uvicorn
from confluent_kafka import Consumer, Producer, TopicPartition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.runtime import config
from headrace.settings import MeshSettings

BATCH = 1_000


async def accept(request: Request) -> Response:
    await request.body()
    return Response(b'{"delivery_id":"none"}', 202, media_type="application/json")


def serve(port: int) -> None:
    app = Starlette(routes=[Route("/webhooks/{source}", accept, methods=["POST"])])
    uvicorn.run(app, port=port, log_config=None, access_log=False, lifespan="off")


def loop(settings: MeshSettings, topics: list[str], to: str | None) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    consumer = Consumer(
        config.consumer(settings, group="bare.edges", client="bare") | {"auto.offset.reset": "earliest"}
    )
    producer = Producer(config.transactional_producer(settings, transactional_id="bare.edges"))
    producer.init_transactions()
    consumer.subscribe([settings.physical_topic(topic) for topic in topics])
    while not stopping.is_set():
        first = consumer.poll(0.1)
        messages = [m for m in ([first] if first else []) + consumer.consume(BATCH, 0) if not m.error()]
        if not messages:
            continue
        producer.begin_transaction()
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            if to:
                headers = cast("Any", message.headers())
                producer.produce(settings.physical_topic(to), message.value(), message.key(), headers=headers)
            ends[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()
    consumer.close()


async def copied(url: str, table: str) -> float:
    """Rows a second of ``table`` that COPY puts into an unindexed, unlogged table like it."""
    connection = await asyncpg.connect(url)
    try:
        names = [row["attname"] for row in await connection.fetch(_COLUMNS, table)]
        rows = [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")]
        await connection.execute(f"CREATE UNLOGGED TABLE bare_copy (LIKE {table})")
        began = time.perf_counter()
        await connection.copy_records_to_table("bare_copy", records=rows, columns=names)
        seconds = time.perf_counter() - began
        await connection.execute("DROP TABLE bare_copy")
    finally:
        await connection.close()
    return len(rows) / seconds


_COLUMNS = (
    "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)


def copy_rate(url: str, table: str) -> float:
    return asyncio.run(copied(url, table))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = arguments.add_subparsers(dest="kind", required=True)
    app = kinds.add_parser("app")
    app.add_argument("--port", type=int, required=True)
    drain = kinds.add_parser("loop")
    drain.add_argument("topics", nargs="+")
    drain.add_argument("--to", help="topic that every record is written to")
    options = arguments.parse_args()
    if options.kind == "app":
        serve(options.port)
    else:
        loop(MeshSettings(), options.topics, options.to)


if __name__ == "__main__":
    main()
