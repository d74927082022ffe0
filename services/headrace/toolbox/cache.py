"""Results of pipelines, kept for a while, per tenant: what the model got, while the rows are a blob that the result names."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

_GET: Final = "SELECT content, stored_at FROM pipeline_cache WHERE tenant = $1 AND key = $2 AND expires_at > now()"
_PUT: Final = """
INSERT INTO pipeline_cache (tenant, key, content, expires_at) VALUES ($1, $2, $3, now() + $4::interval)
ON CONFLICT (tenant, key) DO UPDATE
SET content = excluded.content, stored_at = excluded.stored_at, expires_at = excluded.expires_at
"""
_SWEEP: Final = "DELETE FROM pipeline_cache WHERE expires_at <= now()"


class Cached(NamedTuple):
    """``content`` is JSON."""

    content: bytes
    stored_at: datetime


class PipelineCache:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant: str, key: bytes) -> Cached | None:
        with translated():
            row = await self._pool.fetchrow(_GET, storable_text(tenant), key)
        return Cached(row["content"], row["stored_at"]) if row else None

    async def put(self, tenant: str, key: bytes, content: bytes, seconds: float) -> None:
        """Keep ``content`` for so long; a later result takes the place of an earlier one."""
        with translated(), encoding():
            await self._pool.execute(_PUT, storable_text(tenant), key, content, timedelta(seconds=seconds))

    async def sweep(self) -> int:
        """Forget what is too old to be given; how many."""
        with translated():
            return int((await self._pool.execute(_SWEEP)).removeprefix("DELETE "))
