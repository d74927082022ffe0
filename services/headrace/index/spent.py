"""What the runs of a time used, by agent and model, with what that was counted as. Within one tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple, Self

import asyncpg

from headrace.messages.run import Usage
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text

_SPENT: Final = """
SELECT agent_name, model, count(*) AS runs, sum(model_calls)::bigint AS model_calls, sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(cost_usd) AS cost_usd
FROM runs
WHERE tenant = $1 AND created_at >= $2 AND created_at < $3 AND ($4::text IS NULL OR agent_name = $4) AND model_calls > 0
GROUP BY agent_name, model ORDER BY agent_name, model
"""


class Spent(NamedTuple):
    """``usage.cost_usd`` is what it cost by the prices of then."""

    agent: str
    model: str
    runs: int
    usage: Usage

    def plus(self, other: Self) -> Self:
        """Both together, where they are of one agent and model."""
        return self._replace(runs=self.runs + other.runs, usage=self.usage.plus(other.usage))


async def spent_by_model(
    pool: asyncpg.Pool, tenant: str, *, since: datetime, until: datetime, agent: str | None = None
) -> list[Spent]:
    """Of runs that were created within that time and asked a model. Raises ``DependencyUnavailable``."""
    only = None if agent is None else storable_text(agent)
    with translated():
        rows = await pool.fetch(_SPENT, storable_text(tenant), since, until, only)
    return [_spent(row) for row in rows]


def _spent(row: asyncpg.Record) -> Spent:
    counts = {name: row[name] or 0 for name in Usage.__struct_fields__}
    return Spent(row["agent_name"] or "", row["model"] or "", row["runs"], Usage(**counts))
