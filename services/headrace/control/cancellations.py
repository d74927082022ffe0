"""Cancellations: which runs have to end. Asked for by the gateway, kept as rows, followed by every reasoner.

A reasoner holds them in memory (``CancelledRuns``), so that looking costs a run nothing; ``followed`` reads what is new once a
second. They are kept for longer than a run may take.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text
from headrace.postgres.repeated import repeated

KEPT: Final = timedelta(hours=25)  # a job may take 24
_OVERLAP: Final = timedelta(minutes=1)  # a row may become visible so long after its time
_ASK: Final = """
WITH forgotten AS (DELETE FROM cancellations WHERE requested_at < now() - $3::interval)
INSERT INTO cancellations (tenant, run_id) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_SINCE: Final = "SELECT tenant, run_id FROM cancellations WHERE requested_at >= $1"
_NOW: Final = "SELECT now()"

Name = tuple[str, str]  # tenant, run id


class PostgresCancellations:
    """On a pool. Every method raises ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ask(self, tenant: str, run_id: str) -> None:
        """The run has to end. Asking again changes nothing."""
        with translated():
            await self._pool.execute(_ASK, storable_text(tenant), storable_text(run_id), KEPT)

    async def since(self, after: datetime | None) -> tuple[list[Name], datetime]:
        """What was asked for after that time (None: all that is kept), and the database's time now."""
        with translated():
            async with self._pool.acquire() as connection:
                now: datetime = await connection.fetchval(_NOW)
                rows = await connection.fetch(_SINCE, (after - _OVERLAP) if after else now - KEPT)
        return [(row["tenant"], row["run_id"]) for row in rows], now


class CancelledRuns:
    """The runs that have to end, as far as this process knows. ``watch`` is for one that is waiting for something."""

    def __init__(self) -> None:
        self._known: dict[Name, datetime] = {}
        self._watching: dict[Name, Callable[[], None]] = {}

    def __contains__(self, name: Name) -> bool:
        return name in self._known

    def add(self, names: list[Name], at: datetime) -> None:
        for name in names:
            if name not in self._known:
                self._known[name] = at
                if stop := self._watching.get(name):
                    stop()

    def forget(self, before: datetime) -> None:
        for name in [name for name, at in self._known.items() if at < before]:
            del self._known[name]

    def watch(self, name: Name, stop: Callable[[], None]) -> Callable[[], None]:
        """Call ``stop`` once, when the run is cancelled; what this returns ends the watch."""
        self._watching[name] = stop

        def unwatch() -> None:
            if self._watching.get(name) is stop:
                del self._watching[name]

        return unwatch


@asynccontextmanager
async def followed(cancellations: PostgresCancellations, *, every_s: float = 1.0) -> AsyncIterator[CancelledRuns]:
    """The cancelled runs, kept up to date in the background. While Postgres is away nothing new is known, nor can be asked for."""
    runs = CancelledRuns()
    after: datetime | None = None

    async def read() -> None:
        nonlocal after
        names, now = await cancellations.since(after)
        runs.add(names, now)
        runs.forget(now - KEPT)
        after = now

    async with repeated(read, every_s=every_s, name="cancellations", failed="cancellations_not_read"):
        yield runs
