"""A mesh of topics and a database of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr

from headrace.local.endpoints import Endpoints
from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.runtime.admin import Admin
from headrace.settings import MeshSettings
from headrace.topology.spec import load_all
from tests.replay.command import cli

__all__ = ["cli"]


@pytest.fixture
async def settings(stack: Endpoints, namespace: str, database_url: str) -> MeshSettings:
    """Prepared: topics and tables are there, and empty."""
    settings = MeshSettings(
        _env_file=None,
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        schema_registry_url=stack.schema_registry_url,
        database_url=SecretStr(database_url),
        topic_prefix=namespace,
    )
    await asyncio.to_thread(Admin(settings).apply, load_all().values())
    async with open_pool(settings) as pool:
        await migrate(pool)
    return settings


@pytest.fixture
async def pool(settings: MeshSettings) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(settings, max_size=4) as pool:
        yield pool
