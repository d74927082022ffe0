"""Tails on real Kafka: committed records only, from where one wants, nothing missed after entering."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.local.endpoints import Endpoints
from headrace.messages.codec import Encoded
from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.runtime import aio
from headrace.runtime.admin import Admin
from headrace.runtime.tail import Tail, TailRecord
from headrace.settings import MeshSettings
from headrace.topology import load_all
from tests.contract.kafka import write

SPECS = load_all()


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    settings = MeshSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=namespace)
    Admin(settings).apply([SPECS["tool.calls"], SPECS["tool.results"]])
    return settings


def record(number: int, topic: str = "tool.calls") -> Encoded:
    return Encoded(topic, b"key", str(number).encode() * 200, [("ce_id", b"%d" % number), ("ce_id", b"x%d" % number)])


async def take(tail: Tail, count: int) -> list[TailRecord]:
    async def collect(records: AsyncIterator[TailRecord]) -> list[TailRecord]:
        return [await anext(records) for _ in range(count)]

    return await asyncio.wait_for(collect(aiter(tail)), 30)


async def written(settings: MeshSettings, *records: Encoded, commit: bool = True) -> None:
    await asyncio.to_thread(write, settings, records, commit=commit)


async def test_tail_from_the_end_sees_all_that_comes_after_entering(settings: MeshSettings) -> None:
    await written(settings, record(1))
    async with Tail(settings, ["tool.calls", "tool.results"]) as tail:
        await written(settings, record(2), record(3, "tool.results"))
        seen = await take(tail, 2)
    assert {(item.topic, item.value) for item in seen} == {("tool.calls", b"2" * 200), ("tool.results", b"3" * 200)}
    first = next(item for item in seen if item.topic == "tool.calls")
    assert first.key == b"key"
    assert first.headers == {"ce_id": "x2"}
    assert first.timestamp_ms > 1_600_000_000_000


async def test_tail_from_the_beginning_skips_what_was_aborted(settings: MeshSettings) -> None:
    await written(settings, record(1))
    await written(settings, record(2), commit=False)
    await written(settings, record(3))
    async with Tail(settings, ["tool.calls"], start="beginning") as tail:
        assert [item.headers["ce_id"] for item in await take(tail, 2)] == ["x1", "x3"]


async def test_tail_from_an_offset(settings: MeshSettings) -> None:
    await written(settings, *(record(number) for number in range(5)))
    async with Tail(settings, ["tool.calls"], start="beginning") as tail:
        third = (await take(tail, 3))[-1]
    where = {(third.topic, third.partition): third.offset}
    async with Tail(settings, ["tool.calls"], start=where) as tail:
        assert [item.offset for item in await take(tail, 3)] == [third.offset + step for step in range(3)]
    async with Tail(settings, ["tool.calls"], start={(third.topic, third.partition): 10_000}) as tail:
        await written(settings, record(9))
        assert [item.headers["ce_id"] for item in await take(tail, 1)] == ["x9"]


async def test_missing_topic_or_broker_is_unavailable(settings: MeshSettings) -> None:
    with pytest.raises(DependencyUnavailable, match=r"agent\.jobs"):
        async with Tail(settings, ["agent.jobs"]):
            pass
    with pytest.raises(DependencyUnavailable):
        async with Tail(settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:9"}), ["tool.calls"]):
            pass


def test_security_options_are_translated_or_refused() -> None:
    given = {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "SCRAM-SHA-256", "sasl.username": "u"}
    options = aio.options(MeshSettings(kafka_options=given | {"sasl.password": "p", "queued.min.messages": "5"}))
    assert options == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }
    assert "ssl_context" in aio.options(MeshSettings(kafka_options={"security.protocol": "ssl"}))
    with pytest.raises(FatalError, match=r"sasl\.oauthbearer\.config"):
        aio.options(MeshSettings(kafka_options={"sasl.oauthbearer.config": "secret"}))
