"""``headrace webhooks redeliver`` on real Kafka: the very bytes again, once for each asking, and ingest's say over doubles."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from headrace.claims.postgres import PostgresClaims
from headrace.ingest.processor import IngestProcessor
from headrace.ingest.settings import IngestSettings
from headrace.local.endpoints import Endpoints
from headrace.messages.event import Event, RawDelivery
from headrace.postgres.pool import open_pool
from headrace.registry.catalog import Catalog
from headrace.settings import MeshSettings
from tests.cli.conftest import Run, run
from tests.gateway.support import SECRETS, github_headers
from tests.gateway.test_flow import RAW, gateway, prepared, raw_records, ready
from tests.ingest.records import at
from tests.runtime.kafka import Seen

__all__ = ["run"]  # a fixture
LARGE = orjson.dumps({"text": "x" * 1_000_000})


@pytest.fixture
async def settings(
    stack: Endpoints, namespace: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> MeshSettings:
    """Three deliveries are there: a, b, and one past the record bound. They are the environment's mesh."""
    for name, value in {**SECRETS, "HEADRACE_GATEWAY_PORT": "0", "HEADRACE_AUTH": "off"}.items():
        monkeypatch.setenv(name, value)
    made = await prepared(stack.kafka_bootstrap_servers, stack, namespace, database_url)
    async with gateway(made) as (_, client):
        await ready(client)
        for id_, body in (("a", RAW), ("b", RAW + b" "), ("large", LARGE)):
            headers = github_headers(body) | {"x-github-delivery": id_}
            assert (await client.post("/webhooks/github", content=body, headers=headers)).status_code == 202
    return made


@pytest.fixture
def redeliver(run: Run, settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", settings.schema_registry_url)
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.topic_prefix)
    return lambda *arguments: run("webhooks", "redeliver", *arguments)


async def again(settings: MeshSettings) -> list[Seen]:
    return [record for record in await raw_records(settings) if "ce_redeliveryof" in record.headers]


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


async def test_a_delivery_comes_again_as_it_was(settings: MeshSettings, redeliver: Run) -> None:
    originals = {record.key: record for record in await raw_records(settings)}
    done = await asyncio.to_thread(redeliver, "a", "large", "--json")
    assert done.code == 0, done.err
    assert {row["id"] for row in done.json} == {"a", "large"}
    repeated = {record.key: record for record in await again(settings)}
    assert repeated.keys() == {"a", "large"}
    for key, record in repeated.items():
        original = originals[key]
        assert (record.value, record.partition) == (original.value, original.partition)
        assert record.headers["ce_redeliveryof"] == f"{original.partition}/{original.offset}"
        assert without(record.headers, "ce_redeliveryof") == original.headers


async def test_a_rehearsal_and_a_wrong_id_write_nothing(settings: MeshSettings, redeliver: Run) -> None:
    rehearsed = await asyncio.to_thread(redeliver, "a", "--dry-run")
    assert (rehearsed.code, "would be written again" in rehearsed.out) == (0, True)
    wrong = await asyncio.to_thread(redeliver, "a", "nobody")
    assert (wrong.code, "no such delivery: nobody" in wrong.err) == (4, True)
    assert await again(settings) == []


async def test_a_range_is_what_was_received_in_it_and_never_a_repetition(
    settings: MeshSettings, redeliver: Run
) -> None:
    for arguments, code, count in (
        (("--since", "2026-01-01", "--until", "2026-01-02"), 4, 0),
        (("--since", "2099-01-01"), 4, 0),
        (("--since", "2020-01-01", "--source", "gitlab"), 4, 0),
        (("--since", "2020-01-01", "--source", "github"), 0, 3),
        (("--since", "2020-01-01"), 0, 6),
    ):
        assert (await asyncio.to_thread(redeliver, *arguments)).code == code
        assert len(await again(settings)) == count


async def test_ingest_does_nothing_twice_unless_it_is_anew(settings: MeshSettings, redeliver: Run) -> None:
    assert (await asyncio.to_thread(redeliver, "a")).code == 0
    assert (await asyncio.to_thread(redeliver, "a", "--anew")).code == 0
    async with open_pool(settings) as pool:
        claims = PostgresClaims(pool)
        processor = IngestProcessor(claims, Catalog(), tenant="default", settings=IngestSettings(_env_file=None))
        made = []
        for record in await raw_records(settings):
            if record.key.startswith("a"):
                delivery = RawDelivery(body=record.value, headers=record.headers, key=record.key)
                sends = await processor.handle(delivery, at(offset=record.offset, partition=record.partition))
                made.append([send.message.id for send in sends if isinstance(send.message, Event)])
        await claims.close()
    (first,), (second,) = sorted(ids for ids in made if ids)
    assert (len(made), first, second[:2]) == (3, "a", "a~")
