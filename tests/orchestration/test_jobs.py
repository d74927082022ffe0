"""Runs that wait for Kubernetes Jobs, on real Postgres: how the Jobs end is said, and what nobody waits for is removed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.control.cancellations import PostgresCancellations
from headrace.kubejobs.delegated import submitted
from headrace.kubejobs.port import ClusterError
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.run import ToolOutcome, ToolResults
from headrace.orchestration.waits.jobs import JobWatch
from headrace.orchestration.waits.part import Waits
from headrace.orchestration.waits.store import PostgresWaits
from headrace.orchestration.waits.sweep import Sweeper
from tests.kubejobs.test_cluster import World, made, world
from tests.kubejobs.test_job import CALLER, CODE
from tests.orchestration.records import at, wait
from tests.orchestration.test_waits import Recording
from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "pool", "world"]  # fixtures


class Watched:
    """Waits, the watch over their Jobs, and what it says."""

    def __init__(self, pool: asyncpg.Pool, world: World) -> None:
        self.pool = pool
        self.world = world
        self.blobs = MemoryBlobs()
        self.waits = Waits(PostgresWaits(pool), self.blobs, 1_024)
        self.kafka = Recording()
        self.watch = JobWatch(pool, self.kafka, world.cluster)
        self.offset = 0

    async def park(self, run_id: str, **changes: Any) -> str:
        """A run that waits for a Job; the name of that."""
        job = await submitted(CODE, CALLER._replace(run_id=run_id), made(), self.world.cluster)
        parked = wait("kube_job", run_id=run_id)
        pending = parked.pending[0].replace(kube_job=job.name, **changes)
        await self.waits.handle(parked.replace(pending=(pending,)), self.at("run.waits"))
        return job.name

    async def look(self) -> None:
        """A round in which every Job may be looked at that anybody waits for."""
        await self.pool.execute("UPDATE wait_calls SET look_at = now() WHERE look_at IS NOT NULL")
        await self.watch.look()

    async def gone_on(self) -> dict[str, ToolOutcome]:
        """With which outcome runs go on by what was said."""
        found = {}
        for said in self.kafka.taken():
            for send in await self.waits.handle(said, self.at("wait.completions")):
                assert isinstance(send.message, ToolResults)
                [found[send.message.run.run_id]] = send.message.results
        return found

    async def watched(self) -> int:
        return int(await self.pool.fetchval("SELECT count(*) FROM wait_calls WHERE look_at IS NOT NULL"))

    def at(self, topic: str) -> Any:
        self.offset += 1
        return at(self.offset, topic)


@pytest.fixture
async def watched(pool: asyncpg.Pool, world: World) -> Watched:
    return Watched(pool, world)


async def test_the_end_of_a_job_is_the_outcome_of_its_call(watched: Watched) -> None:
    good, bad, lost, running = [await watched.park(run_id) for run_id in ("good", "bad", "lost", "running")]
    await watched.look()
    assert watched.kafka.taken() == [], "they run"
    api = watched.world.api
    api.end(good, "Complete", "", b'{"answer": 42}')
    api.end(bad, "Failed", "BackoffLimitExceeded", b"no such file")
    del api.jobs[lost]
    await watched.look()
    outcomes = await watched.gone_on()
    assert outcomes.keys() == {"good", "bad", "lost"}
    assert outcomes["good"].content == {"state": "completed", "job": good, "result": {"answer": 42}}
    errors = {run_id: one.error for run_id, one in outcomes.items() if one.error}
    assert {run_id: error.type for run_id, error in errors.items()} == {"bad": "job_failed", "lost": "job_failed"}
    assert "no such file" in errors["bad"].message
    assert "not in the cluster" in errors["lost"].message
    await watched.look()
    assert (watched.kafka.taken(), await watched.watched(), api.removed) == ([], 1, []), "one runs; nothing is removed"
    assert running in api.jobs


async def test_what_was_said_may_be_lost_or_said_twice(watched: Watched) -> None:
    name = await watched.park("run-1")
    watched.world.api.end(name, "Complete", "", b"7")
    watched.kafka.fail = True
    with pytest.raises(DependencyUnavailable):
        await watched.look()
    watched.kafka.fail = False
    await watched.watch.look()
    assert watched.kafka.sends == [], "an instance had it a moment ago"
    await watched.look()
    await watched.look()
    assert len(watched.kafka.sends) == 2
    assert list(await watched.gone_on()) == ["run-1"], "and goes on once"


async def test_a_cluster_that_is_away_holds_up_nothing_but_its_jobs(watched: Watched) -> None:
    names = [await watched.park(run_id) for run_id in ("a", "b")]
    for name in names:
        watched.world.api.end(name, "Complete", "", b"7")
    watched.world.api.answers = 0
    with pytest.raises(ClusterError):
        await watched.look()
    assert await watched.gone_on() == {}
    watched.world.api.answers = None
    await watched.look()
    assert (await watched.gone_on()).keys() == {"a", "b"}


async def test_the_job_of_a_run_that_is_cancelled_or_late_is_removed(watched: Watched, pool: asyncpg.Pool) -> None:
    cancelled, late, other = (
        await watched.park("cancelled"),
        await watched.park("late", deadline_ms=1_000),
        await watched.park("other"),
    )
    await PostgresCancellations(pool).ask("t", "cancelled")
    await Sweeper(pool, watched.kafka, timedelta(hours=1)).sweep()
    outcomes = await watched.gone_on()
    errors = {run_id: one.error.type for run_id, one in outcomes.items() if one.error}
    assert errors == {"cancelled": "cancelled", "late": "timeout"}
    watched.world.api.answers = 0
    with pytest.raises(ClusterError):
        await watched.look()
    watched.world.api.answers = None
    await watched.look()
    await watched.look()
    assert sorted(watched.world.api.removed) == sorted([(cancelled, ["Background"]), (late, ["Background"])]), (
        "once each"
    )
    assert list(watched.world.api.jobs) == [other]
    assert await watched.watched() == 1


async def test_a_large_result_is_a_reference(watched: Watched) -> None:
    name = await watched.park("run-1")
    watched.world.api.end(name, "Complete", "", "é".encode() * 900)
    await watched.look()
    outcome = (await watched.gone_on())["run-1"]
    assert (outcome.status, outcome.content) == ("ok", None)
    assert outcome.content_ref is not None
    assert "é".encode() * 900 in await watched.blobs.get(outcome.content_ref)
    assert outcome.preview["state"] == "completed"
