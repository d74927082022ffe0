"""The composed gateway on real Kafka, registry and Postgres: a 202 is durable, a 503 has left nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import msgspec
import orjson
import pytest
from pydantic import SecretStr

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.postgres import PostgresBlobs
from headrace.blobs.tenants import TenantBlobs
from headrace.gateway.__main__ import compose
from headrace.gateway.server import GatewayServer
from headrace.local.endpoints import Endpoints
from headrace.local.kafka import KafkaCluster
from headrace.messages import ids
from headrace.messages.job import Job
from headrace.messages.result import AgentResult, ResultMetadata
from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.registry.catalog import records_of
from headrace.runtime.admin import Admin
from headrace.runtime.api import Send
from headrace.runtime.publisher import Publisher
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings
from headrace.topology import load_all
from tests.contract.kafka import write
from tests.gateway.support import REVIEWER, SECRETS, github_headers
from tests.gateway.test_streams import parse
from tests.runtime.kafka import Seen, read_all
from tests.support.stack import kafka_cluster

TOPICS = ("ingest.raw", "agent.jobs", "agent.definitions", "tool.calls", "tool.results", "run.waits", "agent.results")
RAW = b'{"ref": "refs/heads/main",\n  "n": 1.10, "text": "\\u00e9\\/ \xc3\xa9", "big": 12345678901234567}'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = {"HEADRACE_GATEWAY_PORT": "0", "HEADRACE_GATEWAY_PUBLISH_TIMEOUT_S": "2", "HEADRACE_AUTH": "off"}
    for name, value in {**SECRETS, **bounds}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def settings(stack: Endpoints, namespace: str, database_url: str) -> MeshSettings:
    return await prepared(stack.kafka_bootstrap_servers, stack, namespace, database_url)


async def prepared(kafka: str, stack: Endpoints, namespace: str, database_url: str) -> MeshSettings:
    settings = MeshSettings(
        _env_file=None,
        kafka_bootstrap_servers=kafka,
        schema_registry_url=stack.schema_registry_url,
        database_url=SecretStr(database_url),
        topic_prefix=namespace,
        drain_seconds=5,
    )
    specs = load_all()
    await asyncio.to_thread(Admin(settings).apply, [specs[name] for name in TOPICS], replication=1)
    async with open_pool(settings) as pool:
        await migrate(pool)
    return settings


@asynccontextmanager
async def gateway(settings: MeshSettings) -> AsyncIterator[tuple[GatewayServer, httpx2.AsyncClient]]:
    async with compose(settings) as component:
        assert isinstance(component, GatewayServer)
        await component.start()
        try:
            async with httpx2.AsyncClient(base_url=component.url, timeout=30) as client:
                yield component, client
        finally:
            await component.stop()


@asynccontextmanager
async def reasoner(settings: MeshSettings) -> AsyncIterator[Publisher]:
    """Somebody else who writes records."""
    async with open_pool(settings) as pool:
        publisher = Publisher(settings, "reasoning", PostgresBlobs(pool))
        await publisher.start()
        try:
            await until(lambda: _value(publisher.ready()))
            yield publisher
        finally:
            await publisher.stop()


async def write_avro(settings: MeshSettings, result: AgentResult) -> None:
    """The record that the reasoning service would write."""
    wire = Wire("reasoning", settings, MemoryBlobs())
    await wire.open()
    (record,) = await wire.encode_all([Send(result)], {})
    await wire.close()
    await asyncio.to_thread(write, settings, [record])


async def _value(value: bool) -> bool:
    return value


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.05)


async def ready(client: httpx2.AsyncClient) -> None:
    async def passes() -> bool:
        return (await client.get("/readyz")).json()["status"] == "ready"

    await until(passes)


async def raw_records(settings: MeshSettings) -> list[Seen]:
    return await asyncio.to_thread(read_all, settings, "ingest.raw")


async def test_an_accepted_delivery_is_there_byte_for_byte(settings: MeshSettings) -> None:
    async with gateway(settings) as (_, client):
        await ready(client)
        response = await client.post("/webhooks/github", content=RAW, headers=github_headers(RAW))
        assert response.status_code == 202
        [record] = await raw_records(settings)
    assert record.value == RAW
    assert record.key == response.json()["delivery_id"]
    assert record.headers["ce_type"] == "dev.headrace.webhook.received"
    assert orjson.loads(record.headers["http-headers"])["x-github-event"] == "push"


async def test_the_largest_body_is_kept_whole_and_read_back(
    settings: MeshSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_GATEWAY_PUBLISH_TIMEOUT_S", "30")
    body = orjson.dumps({"text": "x" * (25 * 1024 * 1024 - len(b'{"text":""}'))})
    async with gateway(settings) as (_, client):
        await ready(client)
        response = await client.post("/webhooks/github", content=body, headers=github_headers(body))
        assert response.status_code == 202
        [record] = await raw_records(settings)
        async with open_pool(settings) as pool:
            store = TenantBlobs(PostgresBlobs(pool), "default")
            assert await store.get(record.headers["ce_dataref"]) == body


async def test_a_run_is_requested_followed_and_read_back(settings: MeshSettings) -> None:
    async with reasoner(settings) as other, gateway(settings) as (_, client):
        await ready(client)
        await other.publish([Send(record) for record in records_of(REVIEWER)])
        request = {"agent": "pr-reviewer", "input": {"title": "Fix"}, "idempotency_key": "k"}

        async def known() -> bool:
            return (await client.get("/v1/agents/pr-reviewer")).status_code == 200

        await until(known)
        run_id = (await client.post("/v1/runs", json=request)).json()["run_id"]
        assert run_id == ids.requested_job_id(settings.tenant, "pr-reviewer", "k")
        assert (await client.get(f"/v1/runs/{run_id}")).json()["state"] == "accepted"
        [job] = [
            msgspec.json.decode(r.value, type=Job) for r in await asyncio.to_thread(read_all, settings, "agent.jobs")
        ]
        assert (job.job_id, job.agent, job.input) == (run_id, "pr-reviewer", {"title": "Fix"})
        result = AgentResult(
            job_id=run_id,
            status="completed",
            metadata=ResultMetadata(llm_model="offline"),
            completed_at="2026-01-02T03:04:05Z",
            output={"planted": 1},
        )
        async with client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
            following = asyncio.create_task(stream.aread())
            await asyncio.sleep(2)  # the live feed starts at the end of the topics
            await write_avro(settings, result)
            [event] = parse((await following).decode())
        assert (event["event"], event["data"]["status"], event["data"]["topic"]) == (
            "result",
            "completed",
            "agent.results",
        )
        conflict = await client.post("/v1/runs", json=request | {"input": {"title": "Other"}})
        assert conflict.status_code == 409


async def test_kafka_stopped_is_503_and_leaves_no_record(stack: Endpoints, namespace: str, database_url: str) -> None:
    cluster: KafkaCluster
    with kafka_cluster(brokers=1) as cluster:
        settings = await prepared(cluster.bootstrap_servers, stack, namespace, database_url)
        async with gateway(settings) as (_, client):
            await ready(client)
            first = await client.post("/webhooks/github", content=RAW, headers=github_headers(RAW))
            assert first.status_code == 202
            await asyncio.to_thread(cluster.stop, 1)
            events = [{"specversion": "1.0", "id": f"e{n}", "source": "/s", "type": "t"} for n in range(20)]
            batch = orjson.dumps(events)
            content_type = {"content-type": "application/cloudevents-batch+json"}
            answers = await asyncio.gather(
                *(client.post("/events", content=batch, headers=content_type) for _ in range(3)),
                client.post("/webhooks/github", content=RAW, headers=github_headers(RAW)),
            )
            assert {answer.status_code for answer in answers} == {503}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
            await asyncio.to_thread(cluster.start, 1)

            async def accepted() -> bool:
                headers = github_headers(RAW) | {"x-github-delivery": "after"}
                return (await client.post("/webhooks/github", content=RAW, headers=headers)).status_code == 202

            await until(accepted)
            keys = [record.key for record in await raw_records(settings)]
    assert [key for key in keys if key.startswith("e")] == []
    assert keys.count(first.json()["delivery_id"]) == 1
    assert keys.count("after") == 1


async def test_the_database_is_not_needed_for_events(settings: MeshSettings) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql://127.0.0.1:9/none")})
    async with gateway(away) as (_, client):

        async def degraded() -> bool:
            state = (await client.get("/readyz")).json()
            checks = {"kafka": "ok", "catalogue": "ok", "database": "away"}
            return state == {"status": "degraded", "auth": "off", "checks": checks}

        await until(degraded)
        response = await client.post("/webhooks/github", content=RAW, headers=github_headers(RAW))
        assert response.status_code == 202
        runs = await client.get("/v1/runs")
        assert (runs.status_code, "retry-after" in runs.headers) == (503, True)


async def test_it_listens_before_kafka_is_there(settings: MeshSettings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:9"})
    async with gateway(away) as (_, client):
        assert (await client.get("/healthz")).status_code == 200
        state = await client.get("/readyz")
        assert (state.status_code, state.json()["checks"]["kafka"]) == (503, "away")
        response = await client.post("/webhooks/github", content=RAW, headers=github_headers(RAW))
        assert (response.status_code, "retry-after" in response.headers) == (503, True)
