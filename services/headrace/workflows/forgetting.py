"""Ended runs of workflows are removed when their time is over, with what each of their events led to.

A run of a workflow within another one stays for as long as the one above it goes on. Versions of workflows are never removed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import asyncpg

from headrace.observe.logging import get_logger
from headrace.observe.metrics import FORGOTTEN
from headrace.postgres.errors import translated

log = get_logger(__name__)

EVERY_S: Final = 60.0
_BATCH: Final = 500
_FORGET: Final = """
WITH over AS (
    SELECT tenant, run_id FROM workflow_runs run WHERE ended_at < now() - $1::interval AND NOT EXISTS (
        SELECT FROM workflow_runs above
        WHERE above.tenant = run.tenant AND above.run_id = run.parent_run_id AND above.ended_at IS NULL
    )
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM workflow_runs USING over WHERE (workflow_runs.tenant, workflow_runs.run_id) = (over.tenant, over.run_id)
"""


class Forgetting:
    """On a pool; any number of instances may do it. ``keep``: how long a run is kept after its end."""

    def __init__(self, pool: asyncpg.Pool, keep: timedelta) -> None:
        self._pool = pool
        self._keep = keep

    async def forget(self) -> None:
        """Remove what is over, some hundred runs at a time. Raises ``DependencyUnavailable``."""
        total, count = 0, _BATCH
        while count == _BATCH:
            with translated():
                count = int((await self._pool.execute(_FORGET, self._keep, _BATCH)).split()[-1])
            total += count
        if total:
            FORGOTTEN.labels("workflow_run").inc(total)
            log.info("workflow_runs_forgotten", count=total)
