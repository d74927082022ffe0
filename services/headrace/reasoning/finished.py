"""Whether a run has ended, asked of the index of runs. The index follows the flow, so "no" may be a moment late;
"yes" is final.
"""

from __future__ import annotations

import asyncpg

from headrace.postgres.errors import translated

_ENDED = "select 1 from runs where tenant = $1 and run_id = $2 and state in ('completed', 'failed')"


class PostgresFinished:
    """The ``admission.Finished`` port. Raises ``DependencyUnavailable`` while Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def finished(self, tenant: str, run_id: str) -> bool:
        with translated():
            return await self._pool.fetchval(_ENDED, tenant, run_id) is not None
