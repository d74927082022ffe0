"""Kubernetes Jobs that runs wait for: each is asked for by its name, its end is said on ``wait.completions``, and what nobody
waits for any longer is removed.

A Job that has ended becomes a completion with the cause ``reported``, which settles like any other: the first one counts, so saying
it twice changes nothing, and the watch holds nothing that a restart could lose. A call that was settled otherwise (its run was
cancelled, its time was up) has its Job removed from the cluster, as often as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import asyncpg

from headrace.kubejobs.delegated import JobFailed, outcome
from headrace.kubejobs.port import Cluster, Ended
from headrace.kubejobs.reach import reached
from headrace.kubejobs.settings import KubeSettings
from headrace.messages.run import ToolError
from headrace.messages.wait import Reported, WaitCompletion
from headrace.observe.logging import get_logger
from headrace.orchestration.waits.sweep import Publisher, completion
from headrace.postgres.errors import translated
from headrace.postgres.repeated import repeated
from headrace.runtime.api import Send

log = get_logger(__name__)

_AT_ONCE: Final = 50  # Jobs that are asked for in one round: what bounds the load on the API server
_AGAIN: Final = timedelta(seconds=2)  # until the same Job is asked for again
_SAID: Final = timedelta(seconds=10)  # until what was published is said again, should it not have settled
# Whoever waited the longest is first; other instances pass over the rows and find them taken.
_TAKE: Final = """
WITH taken AS (
    SELECT call.tenant, call.run_id, call.step, call.round, call.call_id, call.kube_job, call.state, waits.agent
    FROM wait_calls call JOIN waits USING (tenant, run_id, step, round)
    WHERE call.look_at <= now() ORDER BY call.look_at LIMIT $2
    FOR UPDATE OF call SKIP LOCKED
)
UPDATE wait_calls SET look_at = now() + $1::interval FROM taken
WHERE (wait_calls.tenant, wait_calls.run_id, wait_calls.step, wait_calls.round, wait_calls.call_id)
    = (taken.tenant, taken.run_id, taken.step, taken.round, taken.call_id)
RETURNING wait_calls.pending_id, taken.*
"""
_LATER: Final = "UPDATE wait_calls SET look_at = now() + $2::interval WHERE pending_id = ANY($1::uuid[])"


class JobWatch:
    """Any number of instances may watch: each Job is one's for a while."""

    def __init__(self, pool: asyncpg.Pool, publisher: Publisher, cluster: Cluster) -> None:
        self._pool = pool
        self._publisher = publisher
        self._cluster = cluster

    async def look(self) -> None:
        """One round. Raises ``ClusterError`` after it has done what it could, or ``DependencyUnavailable``."""
        with translated():
            rows = await self._pool.fetch(_TAKE, _AGAIN, _AT_ONCE)
        waiting = [row for row in rows if row["state"] == "pending"]
        over = [row for row in rows if row["state"] != "pending"]
        ends = await asyncio.gather(*(self._cluster.ended(row["kube_job"]) for row in waiting), return_exceptions=True)
        gone = await asyncio.gather(*(self._removed(row) for row in over), return_exceptions=True)
        said = [(row, end) for row, end in zip(waiting, ends, strict=True) if isinstance(end, Ended)]
        if said:
            await self._publisher.publish([Send(_completion(row, end)) for row, end in said])
            log.info("jobs_ended", count=len(said))
        done = [row for row, error in zip(over, gone, strict=True) if error is None]
        with translated():
            await self._pool.execute(_LATER, [row["pending_id"] for row, _ in said], _SAID)
            await self._pool.execute(_LATER, [row["pending_id"] for row in done], None)
        for error in (*ends, *gone):
            if isinstance(error, BaseException):
                raise error

    async def _removed(self, row: asyncpg.Record) -> None:
        if row["state"] != "reported":  # then it has ended, and the cluster forgets it by itself
            await self._cluster.remove(row["kube_job"])


def _completion(row: asyncpg.Record, end: Ended) -> WaitCompletion:
    try:
        reported = Reported(content=outcome(row["kube_job"], end))
    except JobFailed as failed:
        reported = Reported(error=ToolError(type="job_failed", message=str(failed)))
    return completion(row, cause="reported", reported=reported)


@asynccontextmanager
async def watched_jobs(
    settings: KubeSettings, pool: asyncpg.Pool, publisher: Publisher, *, every_s: float
) -> AsyncIterator[None]:
    """Watch in the background until exit, if a cluster is set up. Raises ``FatalError`` where there is no way to it."""
    async with reached(settings) as cluster:
        if cluster is None:
            yield
            return
        watch = JobWatch(pool, publisher, cluster)
        async with repeated(watch.look, every_s=every_s, name="job-watch", failed="jobs_not_seen"):
            yield
