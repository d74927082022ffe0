"""Runs begun again, or cancelled, many at once, as a job: listed when it is planned, then gone through at a rate.

A run that is begun again is a fork at its first step, whose id follows from the run and the replay: done twice it is one run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from headrace.blobs.settings import open_blobs
from headrace.control.cancellations import PostgresCancellations
from headrace.control.replays.requests import BulkCancelRequest, BulkRequest, BulkRerunRequest
from headrace.control.replays.states import Said
from headrace.forks.edits import CantFork, Edits
from headrace.forks.plan import Asked, Planned
from headrace.forks.records import Forks
from headrace.index import RunIndex
from headrace.index.choice import Choice, Wanted, by_agent, chosen, to_rerun, under_way
from headrace.messages.errors import BadMessage
from headrace.messages.replay import ActionKind
from headrace.registry.catalog import Catalog
from headrace.registry.publish import connected
from headrace.registry.read import read_catalog
from headrace.replay.actions import SERVICE
from headrace.replay.jobs.held import Held
from headrace.replay.jobs.walk import Act, gone_through
from headrace.replay.shadow.plan import check_expression
from headrace.runtime.api import Send
from headrace.runtime.pick import Picker
from headrace.runtime.publisher import Publisher
from headrace.runtime.wire import Wire

_PUBLISH_S: Final = 30.0


async def rerun_all(held: Held, request: BulkRerunRequest) -> Said:
    """Work of the kind ``bulk_rerun``."""
    if not await _listed(held, request, to_rerun(held.job.replay_id)):
        return "plan"
    async with _reruns(held, request) as reruns:
        return await _done(held, request, "bulk_rerun", reruns.begin)


async def cancel_all(held: Held, request: BulkCancelRequest) -> Said:
    """Work of the kind ``bulk_cancel``."""
    if not await _listed(held, request, under_way):
        return "plan"
    index, wishes = RunIndex(held.pool), PostgresCancellations(held.pool)

    async def cancel(run_ids: Sequence[str]) -> Mapping[str, str]:
        ended = await index.ended(held.job.tenant, run_ids)
        for run_id in run_ids:
            if run_id not in ended:
                await wishes.ask(held.job.tenant, run_id)
        return dict.fromkeys(ended, "the run has ended")

    return await _done(held, request, "bulk_cancel", cancel)


async def _listed(held: Held, request: BulkRequest, wanted: Wanted) -> bool:
    """Choose the runs, unless that is done. Whether the work may begin."""
    if held.job.plan is None:
        check_expression("where", request.where)
        state = getattr(request, "state", None)
        choice = Choice(request.where, request.since, request.agent, state, request.limit)
        runs = await chosen(RunIndex(held.pool), held.job.tenant, choice, wanted)
        estimate = {"runs": len(runs), "agents": by_agent(runs)}
        await held.leases.listed(held.job, "{}", estimate, [run.run_id for run in runs])
    return held.agreed


async def _done(held: Held, request: BulkRequest, kind: ActionKind, act: Act) -> Said:
    span = f"since {request.since.isoformat()}" if request.since else None
    return await gone_through(held, act, rate=request.rate, kind=kind, agent=request.agent, range=span)


@dataclass(frozen=True, slots=True)
class _Reruns:
    """``versions``: the catalogue where a version is asked for."""

    forks: Forks
    publisher: Publisher
    asked: Asked
    versions: Catalog | None

    async def begin(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        plans = dict(zip(run_ids, await asyncio.gather(*map(self._plan, run_ids)), strict=True))
        jobs = [Send(plan.job) for plan in plans.values() if isinstance(plan, Planned)]
        if jobs:
            await self.publisher.publish(jobs, timeout_s=_PUBLISH_S)
        return {run_id: why for run_id, why in plans.items() if isinstance(why, str)}

    async def _plan(self, run_id: str) -> Planned | str:
        """Or why there is none."""
        try:
            plan = await self.forks.plan(run_id, self.asked)
        except (CantFork, BadMessage) as error:
            return str(error)
        version = self.asked.edits.version
        if version and self.versions and self.versions.get(plan.job.agent, version) is None:
            return f"its agent has no version {version}"
        return plan


@asynccontextmanager
async def _reruns(held: Held, request: BulkRerunRequest) -> AsyncIterator[_Reruns]:
    settings, job = held.settings, held.job
    catalog = await read_catalog(settings) if request.version else None
    blobs = open_blobs(settings, held.pool)
    wire = Wire(SERVICE, settings, blobs)
    apart = settings.model_copy(update={"instance": f"bulk-{job.replay_id}"})  # who takes it up ends who had it before
    try:
        async with Picker(settings) as picker, connected(apart, SERVICE, blobs) as publisher:
            forks = Forks(RunIndex(held.pool, blobs), picker, wire, job.tenant)
            asked = Asked(edits=Edits(version=request.version), replay_id=job.replay_id, by=job.started_by)
            yield _Reruns(forks, publisher, asked, catalog)
    finally:
        await wire.close()
