"""Records of runs that have ended, read again since somebody set a group back: they lead to nothing more.

A run's last record is its result, so whatever is read of it after that was read before. A group is set back only while nobody is in
it; so only records that are older than this process, give or take the clocks, are asked for, and in the steady state none is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import asyncpg

from headrace.messages.run import RunInfo
from headrace.observe.logging import get_logger
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text
from headrace.runtime.api import Context

log = get_logger(__name__)
_CLOCKS_MS: Final = 5_000  # how far the clocks of machines may be apart
_ENDED: Final = (
    "SELECT EXISTS (SELECT FROM runs WHERE tenant = $1 AND run_id = $2 AND state IN ('completed', 'failed'))"
)


class Over(Protocol):
    """``Rewound``, or what stands for it."""

    async def __call__(self, run: RunInfo, context: Context) -> bool: ...


async def never_over(run: RunInfo, context: Context) -> bool:
    """For records that nobody can have read before."""
    return False


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Rewound:
    """Made when the process starts. Raises ``DependencyUnavailable`` while Postgres is away."""

    def __init__(self, pool: asyncpg.Pool, now_ms: Callable[[], int] = _wall_ms) -> None:
        self._pool = pool
        self._until_ms = now_ms() + _CLOCKS_MS

    async def __call__(self, run: RunInfo, context: Context) -> bool:
        """Whether the record that ``context`` is of, one of ``run``'s, has had its effect long ago."""
        if context.timestamp_ms >= self._until_ms:
            return False
        with translated():
            ended = await self._pool.fetchval(_ENDED, storable_text(run.tenant), storable_text(run.run_id))
        if ended:
            log.info("record_of_ended_run", run_id=run.run_id, record=str(context.source))
        return bool(ended)
