"""A shadow by a principal of its own, on a broker that checks what it may: it works, and it can't write what is live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import KafkaError, Producer

from headrace.local.endpoints import Endpoints
from headrace.local.kafka import KafkaCluster
from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.messages.job import Job
from headrace.registry.catalog import Catalog
from headrace.registry.follow import definitions
from headrace.registry.publish import connected
from headrace.replay.service import InThisProcess
from headrace.replay.shadow.plan import RESULTS
from headrace.runtime import config
from headrace.runtime.acls import allow
from headrace.runtime.api import Send
from headrace.runtime.groups import Group
from headrace.runtime.ranges import Ranges
from headrace.settings import MeshSettings
from headrace.simulator.server import Simulator
from headrace.topology.acls import Acl
from tests.replay.command import CommandLine
from tests.replay.shadows import TICKETS, event, history, lived, says
from tests.support.simulator import simulator
from tests.support.stack import kafka_cluster

__all__ = ["simulator"]

USERS = {"admin": "admin-secret", "replay": "replay-secret", "nobody": "nobody-secret"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaCluster]:
    with kafka_cluster(brokers=1, users=USERS) as cluster:
        yield cluster


@pytest.fixture
def stack(stack: Endpoints, guarded: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    """The run's registry and Postgres, and the broker that checks; the fixtures of the mesh log in as admin."""
    as_user(monkeypatch, "admin")
    return Endpoints(guarded.bootstrap_servers, stack.schema_registry_url, stack.database_url)


def options(user: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": USERS[user],
    }


def as_user(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA_OPTIONS", json.dumps(options(user)))


async def test_a_replay_principal_shadows_and_can_not_write_what_is_live(
    settings: MeshSettings,
    pool: asyncpg.Pool,
    cli: CommandLine,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, value in environment_of(settings, simulator).items():
        monkeypatch.setenv(name, value)
    events = [event(number) for number in range(6)]
    await history(settings, pool, events, [await lived(settings, pool, one, "low") for one in events])
    simulator.play(says())
    shadow = ("replay", "shadow", "--agent", TICKETS.name, "--model", "openai:newer", "--yes", "--out", str(tmp_path))

    allowed = json.loads((await cli("topics", "acls", "--principal", "User:replay", "--apply", "--json")).stdout)
    writable = {acl["name"].removeprefix(settings.topic_prefix) for acl in allowed if acl["operation"] == "write"}
    assert {name for name in writable if not name.startswith(("shadow.", "headrace."))} == {"replay.actions"}

    as_user(monkeypatch, "replay")
    report = json.loads((await cli(*shadow, "--name", "one", "--json")).stdout)
    assert report["account"]["complete"]
    assert report["account"]["replayed"] == 6
    assert (await asyncio.to_thread(ends, settings, RESULTS)) >= 6
    await cli("replay", "run", "--all", "--agent", TICKETS.name)

    mine = settings.model_copy(update={"kafka_options": options("replay")})
    before = await asyncio.to_thread(ends, settings, Job.TOPIC)
    assert await asyncio.to_thread(refused, mine, Job.TOPIC) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    async with connected(mine, "replay") as publisher:
        with pytest.raises(DependencyUnavailable):
            await publisher.publish([Send(Job(job_id="j", prompt="p"))])
        assert "not allowed to write a topic" in str(publisher.failure)
    assert await asyncio.to_thread(ends, settings, Job.TOPIC) == before
    with pytest.raises(FatalError, match="Group authorization failed"):
        await asyncio.to_thread(Group(mine, "headrace.persistence").reset, {("agent.jobs", 0): 0})


async def test_who_may_not_read_a_topic_is_told_which(
    settings: MeshSettings, cli: CommandLine, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(settings, simulator).items():
        monkeypatch.setenv(name, value)
    as_user(monkeypatch, "nobody")
    refused = f"not allowed to read the topic {settings.physical_topic('agent.definitions')}"
    done = await cli("replay", "shadow", "--agent", TICKETS.name, "--model", "offline", expect=1)
    assert refused in done.stderr
    mine = settings.model_copy(update={"kafka_options": options("nobody")})
    with pytest.raises(FatalError, match=refused):
        async with InThisProcess("ingest", mine).running() as ended:
            await ended
    own = [
        Acl("group", f"{settings.topic_prefix}headrace.", True, "read"),
        Acl("transactional_id", f"{settings.topic_prefix}headrace.", True, "write"),
    ]
    admin = settings.model_copy(update={"kafka_options": options("admin")})
    await asyncio.to_thread(allow, admin, "User:nobody", own)
    with pytest.raises(FatalError, match=f"not allowed to read the topic {settings.topic_prefix}[a-z]"):
        async with InThisProcess("persistence", mine).running() as ended:
            await ended


async def test_a_table_that_was_refused_comes_in_when_it_may_be_read(settings: MeshSettings) -> None:
    mine, admin = [settings.model_copy(update={"kafka_options": options(name)}) for name in ("nobody", "admin")]
    topic = settings.physical_topic("agent.definitions")
    table = definitions(mine, Catalog())
    try:
        with pytest.raises(FatalError, match=f"not allowed to read the topic {topic}"):
            await table.start()
        assert not table.ready()
        await asyncio.to_thread(allow, admin, "User:nobody", [Acl("topic", topic, False, "read")])
        async with asyncio.timeout(30):
            while not table.ready():
                await asyncio.sleep(0.1)
    finally:
        await table.stop()


def ends(settings: MeshSettings, topic: str) -> int:
    """Offsets of the topic that are committed."""
    return sum(end for _, end in Ranges(settings, "test").extents([topic])[topic].partitions.values())


def refused(settings: MeshSettings, topic: str) -> int:
    """The code with which the broker refuses a record."""
    found: list[Any] = []
    producer = Producer(config.common(settings, "test") | {"message.timeout.ms": 10_000})
    producer.produce(settings.physical_topic(topic), b"{}", on_delivery=lambda error, _record: found.append(error))
    producer.flush(20)
    return int(found[0].code())


def environment_of(settings: MeshSettings, simulator: Simulator) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": settings.schema_registry_url,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "HEADRACE_TOPIC_PREFIX": settings.topic_prefix,
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": simulator.openai_base_url,
    }
