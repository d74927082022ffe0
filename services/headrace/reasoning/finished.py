"""Whether a run has ended, asked of the index of runs. The index follows the flow, so "no" may be a moment late;
"yes" is final.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from headrace.postgres.batch import Coalescer
from headrace.postgres.errors import encoding, translated

_ENDED = """
SELECT runs.run_id IS NOT NULL AS ended
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tenant, run_id, number)
LEFT JOIN runs ON runs.tenant = asked.tenant AND runs.run_id = asked.run_id AND runs.state IN ('completed', 'failed')
ORDER BY asked.number
"""


class PostgresFinished:
    """The ``admission.Finished`` port; many questions share a round trip. Raises ``DependencyUnavailable`` without Postgres."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._coalescer: Coalescer[tuple[str, str], bool] = Coalescer(self._ask)

    async def finished(self, tenant: str, run_id: str) -> bool:
        return await self._coalescer.submit((tenant, run_id))

    async def close(self) -> None:
        """Wait for the questions under way; refuse new ones."""
        await self._coalescer.close()

    async def _ask(self, runs: Sequence[tuple[str, str]]) -> list[bool]:
        with translated(), encoding():
            rows = await self._pool.fetch(_ENDED, [tenant for tenant, _ in runs], [run_id for _, run_id in runs])
        return [row["ended"] for row in rows]
