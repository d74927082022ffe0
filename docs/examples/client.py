"""A client that knows nothing of headrace but its topics: an event and a job in, two results out.

    KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 SCHEMA_REGISTRY_URL=http://127.0.0.1:8081/apis/ccompat/v7 python client.py

Needs `aiokafka[lz4]` (the mesh compresses with it) and `fastavro`. HEADRACE_TOPIC_PREFIX is the mesh's, if it has one.
"""

import asyncio
import io
import json
import os
import urllib.request
import uuid
from functools import cache

import fastavro
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

BROKERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081").rstrip("/")
PREFIX = os.environ.get("HEADRACE_TOPIC_PREFIX", "")
PATIENCE_S = 60
FREE_FORM = ("output", "result_preview")  # any JSON value, which Avro carries as JSON text


def envelope(source):
    """The plain form that `ingest.raw` takes. The id makes a second copy of it harmless."""
    return {
        "source": source,
        "event_type": "ticket.created",
        "id": str(uuid.uuid4()),
        "payload": {"title": "Charged twice", "body": "My card was charged twice for order 1042."},
    }


def job(job_id):
    """Protocol v1.0. It names no agent, so the agent `assistant` takes it."""
    return {
        "version": "1.0",
        "job_id": job_id,
        "run_id": "my-workflow-7",
        "node_id": "summarise",
        "user_id": "jo",
        "prompt": "What can you do for a platform team?",
        "context": {"session_id": "session-1"},
        "timeout_sec": 60,
    }


@cache
def schema(schema_id):
    """A writer's schema by its id, as every Confluent-compatible registry serves it."""
    with urllib.request.urlopen(f"{REGISTRY}/schemas/ids/{schema_id}", timeout=10) as answer:
        return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))


def decode(value):
    """Confluent wire format: a zero byte, the schema's id in four, then Avro."""
    if value[:1] != b"\0":
        raise ValueError("not the Confluent wire format")
    result = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema(int.from_bytes(value[1:5], "big")), None)
    for name in FREE_FORM:
        result[name] = json.loads(result[name]) if result[name] is not None else None
    return result


async def results(consumer):
    """Yield each result that comes, decoded."""
    async for record in consumer:
        reference = dict(record.headers).get("ce_dataref")
        if reference:
            print(f"too large for a record: GET /v1/results/{reference.decode().removeprefix('cas://')}")
        else:
            yield await asyncio.to_thread(decode, record.value)


def show(result):
    """One line of a result."""
    answer = result["output"] if result["status"] == "completed" else result["error"]
    print(f"{result['agent_name']}@{result['agent_version']} {result['status']}: {json.dumps(answer)}")


async def main():
    """Send both, then wait until the job's result and the event's one are there."""
    source, job_id = f"/shop/{uuid.uuid4()}", str(uuid.uuid4())
    consumer = AIOKafkaConsumer(
        PREFIX + "agent.results",
        bootstrap_servers=BROKERS,
        auto_offset_reset="latest",
        isolation_level="read_committed",  # or what an aborted transaction wrote would show too
    )
    producer = AIOKafkaProducer(bootstrap_servers=BROKERS, acks="all", enable_idempotence=True)
    async with consumer, producer, asyncio.timeout(PATIENCE_S):
        for partition in consumer.assignment():
            await consumer.position(partition)  # the end as it is now, before anything is sent
        await producer.send_and_wait(PREFIX + "ingest.raw", json.dumps(envelope(source)).encode(), key=b"ticket-1042")
        await producer.send_and_wait(PREFIX + "agent.jobs", json.dumps(job(job_id)).encode(), key=b"session-1")
        waiting = {job_id, source}
        async for result in results(consumer):
            if found := waiting & {result["job_id"], result["event_source"]}:
                show(result)
                waiting -= found
            if not waiting:
                return


if __name__ == "__main__":
    asyncio.run(main())
