"""Records that nothing depends on: there at once for any reader, or lost without anybody waiting for it."""

from __future__ import annotations

import asyncio

from headrace.blobs.memory import MemoryBlobs
from headrace.local.endpoints import Endpoints
from headrace.messages.tokens import RunTokens
from headrace.observe.metrics import ADVISORY
from headrace.runtime.advisory import Advisory
from headrace.runtime.tail import Since, Tail
from headrace.settings import MeshSettings
from tests.runtime.kafka import make_topics, read_all


def piece(at: int, text: str = "x") -> RunTokens:
    return RunTokens(tenant="default", run_id="r-1", agent="a", step=1, at=at, text=text)


def counted(service: str, outcome: str) -> float:
    return ADVISORY.labels(service, outcome).value


def settings_of(stack: Endpoints, namespace: str, servers: str | None = None) -> MeshSettings:
    return MeshSettings(
        kafka_bootstrap_servers=servers or stack.kafka_bootstrap_servers,
        schema_registry_url=stack.schema_registry_url,
        database_url=stack.database_url,  # type: ignore[arg-type]
        topic_prefix=namespace,
    )


async def test_what_is_sent_is_there_in_order_and_again_for_who_looks_back(stack: Endpoints, namespace: str) -> None:
    settings = settings_of(stack, namespace)
    await asyncio.to_thread(make_topics, settings, [RunTokens.TOPIC])
    advisory = Advisory(settings, "test-sent", MemoryBlobs())
    for at in range(20):
        advisory.send(piece(at))
    await advisory.close()
    records = await asyncio.to_thread(read_all, settings, RunTokens.TOPIC)
    assert [record.headers["ce_id"] for record in records] == [f"r-1:1:tokens:{at}" for at in range(20)]
    assert {record.key for record in records} == {"r-1"}
    assert (counted("test-sent", "sent"), counted("test-sent", "dropped")) == (20, 0)
    async with Tail(settings, [RunTokens.TOPIC], start=Since(0)) as tail, asyncio.timeout(30):
        found = []
        async for record in tail:
            found.append(record.headers["ce_id"])
            if len(found) == 20:
                break
    assert found == [record.headers["ce_id"] for record in records]
    async with Tail(settings, [RunTokens.TOPIC], start=Since(2**42)) as tail, asyncio.timeout(30):
        late = Advisory(settings, "test-late", MemoryBlobs())
        late.send(piece(99))
        await late.close()
        async for record in tail:
            assert record.headers["ce_id"] == "r-1:1:tokens:99", "nothing is so new: from the end on"
            break


async def test_what_can_t_be_sent_is_dropped_and_nothing_fails(stack: Endpoints, namespace: str) -> None:
    advisory = Advisory(settings_of(stack, namespace, "127.0.0.1:9"), "test-away", MemoryBlobs())
    advisory.send(piece(0, "x" * 2_000_000))  # more than a record may be
    advisory.send(piece(0, "\ud800"))
    for _ in range(10_001):  # the last finds the queue full
        advisory.send(piece(0))
    assert counted("test-away", "dropped") == 3
    await advisory.close()
