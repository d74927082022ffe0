"""What tests on Postgres share: a pool on a database of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr

from headrace.postgres.migrate import migrate
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings


def mesh_settings(url: str) -> MeshSettings:
    return MeshSettings(_env_file=None, database_url=SecretStr(url))


@pytest.fixture
async def empty_pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on an empty database."""
    async with open_pool(mesh_settings(database_url), max_size=10) as pool:
        yield pool


@pytest.fixture
async def pool(empty_pool: asyncpg.Pool) -> asyncpg.Pool:
    """A pool on a database with the schema."""
    await migrate(empty_pool)
    return empty_pool
