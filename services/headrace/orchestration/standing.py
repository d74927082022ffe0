"""How things stand, as gauges: what runs wait for, which workflow runs have not ended, and how old the oldest of them are.

All of it is read from Postgres, so every instance says the same: take the greatest, never the sum. What is overdue should be
nothing: the sweep settles a call within seconds of its deadline.
"""

from __future__ import annotations

from typing import Final, get_args

import asyncpg

from headrace.messages.wait import Kind
from headrace.observe.metrics import PARKED, PARKED_OLDEST, PARKED_OVERDUE, WORKFLOWS_OLDEST, WORKFLOWS_OPEN
from headrace.postgres.errors import translated
from headrace.workflows.state import ENDED, RunStatus

EVERY_S: Final = 15.0
_PARKED: Final = """
SELECT kind, count(DISTINCT (tenant, run_id, step, round)) AS runs, extract(epoch FROM now() - min(parked_at)) AS oldest_s,
    count(*) FILTER (WHERE deadline < now() - interval '1 minute') AS overdue
FROM wait_calls JOIN waits USING (tenant, run_id, step, round) WHERE settled_by IS NULL GROUP BY kind
"""
_WORKFLOWS: Final = """
SELECT status, count(*) AS runs, extract(epoch FROM now() - min(started_at)) AS oldest_s
FROM workflow_runs WHERE ended_at IS NULL GROUP BY status
"""
_OPEN: Final = sorted(set(get_args(RunStatus)) - ENDED)


class Standing:
    """On a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def measure(self) -> None:
        """Set the gauges. Raises ``DependencyUnavailable``; then they stay as they were."""
        with translated():
            parked = {row["kind"]: row for row in await self._pool.fetch(_PARKED)}
            workflows = {row["status"]: row for row in await self._pool.fetch(_WORKFLOWS)}
        for kind in get_args(Kind):
            row = parked.get(kind)
            PARKED.labels(kind).set(row["runs"] if row else 0)
            PARKED_OLDEST.labels(kind).set(max(0, row["oldest_s"]) if row else 0)
            PARKED_OVERDUE.labels(kind).set(row["overdue"] if row else 0)
        for status in _OPEN:
            row = workflows.get(status)
            WORKFLOWS_OPEN.labels(status).set(row["runs"] if row else 0)
            WORKFLOWS_OLDEST.labels(status).set(max(0, row["oldest_s"]) if row else 0)
