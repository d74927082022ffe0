"""How often each pipeline was used, and the promotion that comes of it.

A use is one tool call, named by its idempotency key: a call whose record is read again, or that is made again after a crash, is the
same use. A pipeline that has been used often enough becomes a composite tool, unless the tenant's promotion is off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

import asyncpg

from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

KEPT: Final = timedelta(days=30)  # uses, and pipelines that were not used since and came to nothing
MAX_STEPS_BYTES: Final = 16_384  # a longer pipeline is not counted
_MAX_AGENTS: Final = 500  # characters
_COUNT: Final = """
WITH counted AS (
    INSERT INTO pipeline_uses (tenant, call_key, digest, run_id, agent) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant, call_key) DO NOTHING
    RETURNING digest
)
INSERT INTO pipelines AS known (tenant, digest, name, description, steps, agents, uses)
SELECT $1, digest, $6, $7, $8, $5, 1 FROM counted
ON CONFLICT (tenant, digest) DO UPDATE
SET uses = known.uses + 1, last_used_at = now(), agents = CASE
    WHEN $5 = ANY (string_to_array(known.agents, ' ')) OR length(known.agents) + length($5) >= $9 THEN known.agents
    ELSE known.agents || ' ' || $5
END
RETURNING state, uses
"""
_PROMOTE: Final = """
UPDATE pipelines SET state = 'promoted', decided_by = 'use', decided_at = now()
WHERE tenant = $1 AND digest = $2 AND state = 'used' AND uses >= $3
    AND NOT EXISTS (SELECT FROM promotion_off WHERE tenant = $1)
RETURNING true
"""
_SWEEP: Final = """
WITH gone AS (DELETE FROM pipeline_uses WHERE used_at < now() - $1::interval)
DELETE FROM pipelines WHERE state = 'used' AND last_used_at < now() - $1::interval
"""


class Use(NamedTuple):
    """One call of a pipeline; ``steps`` are canonical."""

    tenant: str
    call_key: str
    run_id: str
    agent: str
    digest: bytes
    name: str
    description: str
    steps: bytes


class PipelineUsage:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def count(self, use: Use, promote_after: int) -> bool:
        """Count a use; whether it made the pipeline a composite tool. ``promote_after`` 0 promotes nothing."""
        tenant = storable_text(use.tenant)
        whose = (storable_text(use.run_id), storable_text(use.agent))
        what = (use.name, use.description, use.steps.decode(), _MAX_AGENTS)
        with translated(), encoding():
            row = await self._pool.fetchrow(_COUNT, tenant, use.call_key, use.digest, *whose, *what)
            if row is None or row["state"] != "used" or not 0 < promote_after <= row["uses"]:
                return False
            return await self._pool.fetchval(_PROMOTE, tenant, use.digest, promote_after) is not None

    async def sweep(self) -> int:
        """Forget old uses, and pipelines that came to nothing; how many of these."""
        with translated():
            return int((await self._pool.execute(_SWEEP, KEPT)).removeprefix("DELETE "))
