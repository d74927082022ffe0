"""A shadow replay as a job: planned once, then replayed, accounted and reported; taken up anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec

from headrace.control.replays.leases import Leases
from headrace.control.replays.requests import ShadowRequest
from headrace.control.replays.states import Said
from headrace.control.replays.store import Replay
from headrace.registry.read import read_catalog
from headrace.replay.jobs.begin import begun
from headrace.replay.jobs.progress import Progress
from headrace.replay.jobs.settle import resolved, settle
from headrace.replay.settings import ReplaySettings
from headrace.replay.shadow.estimate import Estimate, estimate
from headrace.replay.shadow.following import Trail
from headrace.replay.shadow.job import ShadowJob, open_job
from headrace.replay.shadow.page import page
from headrace.replay.shadow.plan import InvalidPlan, ShadowPlan
from headrace.replay.shadow.range import Forecast
from headrace.replay.shadow.report import Facts, report
from headrace.settings import MeshSettings


class ShadowWork:
    """Work on one job that is held."""

    def __init__(
        self, settings: MeshSettings, pool: asyncpg.Pool, leases: Leases, job: Replay, progress: Progress
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._leases = leases
        self._job = job
        self._progress = progress
        self.enough = asyncio.Event()
        """Set it to end a replay that follows the live tail, with its report."""

    async def done(self, request: ShadowRequest) -> Said:
        """What is to be said of the job now: ``plan`` where it waits for a yes, else ``complete``.

        Raises:
            BadMessage, FatalError: it can't be done; the text says why.
            DependencyUnavailable: a server is away.
        """
        plan = plan_of(self._job) or await settle(
            self._settings, await read_catalog(self._settings), request, self._job.replay_id
        )
        async with open_job(self._settings, plan, self._pool) as shadow:
            expected = await shadow.forecast()
            if self._job.began_at is None and not await self._agreed(plan, expected):
                return "plan"
            await self.replayed(shadow, expected, request.outcome)
            return "complete"

    async def replayed(self, shadow: ShadowJob, expected: Forecast, outcome: str | None) -> Facts:
        """Replay what is left, or follow the live tail, and keep the report."""

        async def reported(plan: ShadowPlan) -> Facts:
            facts = report(plan, await shadow.account(plan), outcome)
            await self._leases.reported(self._job, facts, page(facts))
            return facts

        async def now_and_then(plan: ShadowPlan) -> None:
            await reported(plan)

        await begun(self._leases, self._job)
        self._progress.phase = "following" if shadow.plan.follow else "replaying"
        self._progress.of(expected.total)
        trail = Trail(now_and_then, self.enough, ReplaySettings().report_seconds)
        plan = await shadow.run(expected, self._progress.told, by=self._job.started_by, trail=trail)
        self._progress.phase = "reporting"
        return await reported(plan)

    async def _agreed(self, plan: ShadowPlan, expected: Forecast) -> bool:
        """Whether it may begin. Raises ``InvalidPlan`` where it would cost more than it may."""
        about = await estimate(self._pool, plan, expected, resolved)
        await self._leases.settled(self._job, text_of(plan), estimate_facts(expected, about))
        check_cost(plan, about)
        return not self._job.dry_run and (self._job.confirmed or not about.paid)


def check_cost(plan: ShadowPlan, about: Estimate) -> None:
    """Raises ``InvalidPlan`` where it would cost more than it may."""
    if about.cost_usd > plan.max_cost_usd:
        raise InvalidPlan(
            f"about ${about.cost_usd:.4f} is more than the cap of ${plan.max_cost_usd:g}: "
            "raise that (max_cost_usd), or take a smaller sample"
        )


def estimate_facts(expected: Forecast, about: Estimate) -> dict[str, Any]:
    """As JSON."""
    return {**expected.facts(), **about._asdict()}


def text_of(plan: ShadowPlan) -> str:
    """As it is kept."""
    return msgspec.json.encode(plan).decode()


def plan_of(job: Replay) -> ShadowPlan | None:
    """The plan that is kept, if the job has one already."""
    return None if job.plan is None else msgspec.json.decode(job.plan, type=ShadowPlan)
