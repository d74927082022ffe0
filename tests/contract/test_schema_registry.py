"""Our client against the real schema registry: ids, compatibility, unknown writers, a registry that is away."""

import copy
import struct
from io import BytesIO

import fastavro
import pytest
from pydantic import SecretStr

from headrace.local.endpoints import Endpoints
from headrace.messages.codec import AVRO_FORMS, Codec, UnknownSchema
from headrace.messages.errors import DependencyUnavailable, FatalError, UndecodableMessage
from headrace.messages.result import AgentResult
from headrace.runtime.schemas import Registry, Schemas
from headrace.settings import MeshSettings
from tests.contract.ids import datum_of

OURS = AVRO_FORMS[AgentResult].schema
RESULT = AgentResult(job_id="job-1", status="completed", completed_at="2026-03-02T09:17:31Z", output=[1])


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    return MeshSettings(schema_registry_url=stack.schema_registry_url, topic_prefix=namespace)


async def test_load_registers_once_and_everybody_gets_the_same_id(settings: MeshSettings) -> None:
    first, second = Schemas(settings), Schemas(settings)
    try:
        await first.load()
        await second.load()
        assert first.id_for("agent.results-value") == second.id_for("agent.results-value")
    finally:
        await first.close()
        await second.close()
    async with Registry(settings) as registry:
        subject = f"{settings.topic_prefix}agent.results-value"
        assert await registry.lookup(subject, OURS) == first.id_for("agent.results-value")
        assert await registry.by_id(first.id_for("agent.results-value")) is not None


async def test_records_of_an_evolved_writer_are_read_after_a_fetch(settings: MeshSettings) -> None:
    newer = copy.deepcopy(OURS)
    newer["fields"].append({"name": "region", "type": "string", "default": "eu"})
    schemas = Schemas(settings)
    try:
        await schemas.load()
        async with Registry(settings) as registry:
            writer_id = await registry.register(f"{settings.topic_prefix}agent.results-value", newer)
        assert writer_id != schemas.id_for("agent.results-value")
        buffer = BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(newer), datum_of(RESULT) | {"region": "us"})
        value = struct.pack(">bI", 0, writer_id) + buffer.getvalue()
        codec = Codec(schemas)
        with pytest.raises(UnknownSchema):
            codec.decode("agent.results", None, value, {})
        await schemas.fetch(writer_id)
        assert codec.decode("agent.results", None, value, {}) == RESULT
    finally:
        await schemas.close()


async def test_incompatible_schema_is_refused_with_409(settings: MeshSettings) -> None:
    schemas = Schemas(settings)
    await schemas.load()
    await schemas.close()
    broken = copy.deepcopy(OURS)
    broken["fields"].append({"name": "region", "type": "string"})
    subject = f"{settings.topic_prefix}agent.results-value"
    async with Registry(settings) as registry:
        assert not await registry.is_compatible(subject, broken)
        assert await registry.is_compatible(subject, OURS)
        with pytest.raises(FatalError, match="status 409"):
            await registry.register(subject, broken)


async def test_an_operators_own_rule_stays(settings: MeshSettings) -> None:
    subject = f"{settings.topic_prefix}agent.results-value"
    async with Registry(settings) as registry:
        await registry.register(subject, OURS)
        await registry._call("PUT", f"config/{subject}", b'{"compatibility": "FULL"}')
        await registry.ensure_rule(subject)
        assert await registry._call("GET", f"config/{subject}", None) == {"compatibilityLevel": "FULL"}


async def test_unknown_id_is_undecodable_and_unknown_subject_has_no_lookup(settings: MeshSettings) -> None:
    schemas = Schemas(settings)
    try:
        with pytest.raises(UndecodableMessage) as caught:
            await schemas.fetch(2_000_000_000)
        assert caught.value.cause == "unknown_schema"
    finally:
        await schemas.close()
    async with Registry(settings) as registry:
        assert await registry.lookup(f"{settings.topic_prefix}nobody-value", OURS) is None
        assert await registry.is_compatible(f"{settings.topic_prefix}nobody-value", OURS)


async def test_a_registry_that_is_away_is_unavailable_and_load_may_be_repeated(settings: MeshSettings) -> None:
    away = Schemas(
        MeshSettings(schema_registry_url="http://127.0.0.1:9", schema_registry_auth=SecretStr("user:very-secret"))
    )
    for _ in range(2):
        with pytest.raises(DependencyUnavailable) as caught:
            await away.load()
        assert "secret" not in str(caught.value)
    with pytest.raises(DependencyUnavailable):
        await away.fetch(1)
    with pytest.raises(DependencyUnavailable):
        away.id_for("agent.results-value")
    await away.close()


async def test_only_the_named_topics_are_loaded() -> None:
    schemas = Schemas(MeshSettings(schema_registry_url="http://127.0.0.1:9"))
    await schemas.load(topics=("ingest.raw", "agent.jobs"))
    await schemas.close()
