"""A shadow replay from its plan to its report. May be cut off anywhere and run again: it goes on where its group stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import asyncpg

from headrace.blobs import BlobStore
from headrace.blobs.settings import open_blobs
from headrace.control.replays.leases import Purse
from headrace.messages.errors import FatalError
from headrace.messages.event import Event
from headrace.messages.run import ToolCalls, ToolResults
from headrace.models.resolve import Models
from headrace.models.settings import ModelSettings
from headrace.reasoning.agents import mesh_specs
from headrace.reasoning.settings import ReasoningSettings
from headrace.replay.actions import on_record
from headrace.replay.evaluators.evaluation import evaluate
from headrace.replay.shadow.account import Account, cost_of, shadow_results, take_account
from headrace.replay.shadow.answers import Answers
from headrace.replay.shadow.following import RecentAnswers, Standing, Trail, coming, now_ms
from headrace.replay.shadow.plan import RESULTS, ShadowPlan
from headrace.replay.shadow.processor import ShadowProcessor
from headrace.replay.shadow.range import Forecast, decoded, forecast, since
from headrace.replay.shadow.runs import Definitions, ShadowRuns
from headrace.replay.shadow.sessions import ShadowSessions
from headrace.replay.shadow.spending import Budgeted
from headrace.replay.shadow.toolsets import ShadowToolsets
from headrace.runtime.engine import Bounds
from headrace.runtime.groups import Group
from headrace.runtime.meter import Meter, metered
from headrace.runtime.ranges import Ranges
from headrace.runtime.scan import Scan
from headrace.runtime.wire import Wire
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from headrace.toolbox.composites import Composites

if TYPE_CHECKING:
    from headrace.replay.shadow.reading import LiveReads

T = TypeVar("T")
_POLL_S: Final = 0.25
_PATIENT_S: Final = 5.0
_EMPTY_S: Final = 60.0  # a member that was killed before it had committed anything is in the group for so long


class Told(Protocol):
    """Is told how many records are passed, US dollars spent, and records in all."""

    def __call__(self, passed: int, spent_usd: float, total: int) -> None: ...


class ShadowJob:
    """One replay over one mesh. Make it with ``open_job``."""

    def __init__(
        self, settings: MeshSettings, plan: ShadowPlan, wire: Wire, blobs: BlobStore, pool: asyncpg.Pool, read: Meter
    ) -> None:
        self._settings = settings
        self.plan = plan
        self._wire = wire
        self._blobs = blobs
        self._pool = pool
        self._read = read
        self._purse = Purse(pool, plan.tenant, plan.replay_id)
        self._group = Group(settings, plan.stage.group)

    async def forecast(self) -> Forecast:
        """What the range holds; reads it whole."""
        return await forecast(self._settings, self.plan, self._wire)

    async def passed(self, at_ms: int) -> ShadowPlan:
        """The plan with the range that a replay has passed which is over since then (epoch ms)."""
        if not self.plan.follow:
            return self.plan
        return await asyncio.to_thread(Standing(self._settings, self.plan, self._group).so_far, at_ms)

    async def account(self, plan: ShadowPlan | None = None) -> Account:
        """What became of the range (or of that of ``plan``), with the verdicts of the plan's evaluators: judges are asked what they
        were not asked yet.
        """
        plan = plan or self.plan
        account = await take_account(self._settings, plan, self._wire)
        await evaluate(self._settings, plan, self._wire, self._blobs, self._pool, account)
        account.read = self._read.topics()
        return account

    async def run(self, expected: Forecast, told: Told, *, by: str, trail: Trail | None = None) -> ShadowPlan:
        """Replay until the group has passed the last event, or as long as the plan says that it follows. ``by``: who began it, for
        the record. The plan with the range that was replayed.

        Raises:
            GroupActive: another process began this replay and is still at it.
            FatalError: the stage stopped; the text says why.
            DependencyUnavailable: a server is away.
        """
        plan = self.plan
        async with on_record(
            self._settings, "shadow", by, replay_id=plan.replay_id, agent=plan.agent, range=plan.span
        ) as done:
            await self._stand_at_the_start()
            recorded = cost_of(*await shadow_results(self._settings, plan, self._wire))  # by an earlier attempt
            await self._purse.at_least(recorded)
            if not plan.follow:
                done.records = expected.total
                async with self._working() as (worker, budgeted):
                    await beside(worker, self._passes(plan, expected, told, budgeted))
                return plan
            plan, done.records = await self._followed(told, trail or Trail())
            return plan

    async def help(self) -> None:
        """Work beside the process that leads this replay, until cancelled. Begins once the group stands in the range.

        Raises as ``run``.
        """
        starts = [(Event.TOPIC, number) for number in self.plan.ranges]
        while not await asyncio.to_thread(self._group.committed, starts):  # noqa: ASYNC110 - who leads is another process
            await asyncio.sleep(_POLL_S)
        async with self._working() as (worker, _):
            await worker.wait()

    async def _followed(self, told: Told, trail: Trail) -> tuple[ShadowPlan, int]:
        """The plan with the range in the end, and how many records that is."""
        standing = Standing(self._settings, self.plan, self._group)
        async with self._working() as (worker, budgeted):
            await beside(
                worker, trail.watched(standing, self._purse, lambda passed, total, spent: told(passed, spent, total))
            )
            if not trail.enough.is_set():
                plan = await asyncio.to_thread(standing.until)
                expected = await forecast(self._settings, plan, self._wire)
                await beside(worker, self._passes(plan, expected, told, budgeted))
                return plan, expected.total
        plan = await asyncio.to_thread(standing.so_far, now_ms())
        return plan, (await forecast(self._settings, plan, self._wire)).total

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[tuple[Worker, Budgeted]]:
        """The stage at work."""
        models = Models(ModelSettings())
        try:
            budgeted = Budgeted(models, self.plan.max_cost_usd, self._purse)
            sessions = ShadowSessions(self._pool, self.plan)
            await sessions.forget_old()
            async with self._answers() as answers, self._reads() as reads:
                own = ReasoningSettings()
                toolsets = ShadowToolsets(self.plan, answers, Composites(self._pool), self._blobs, own.composite_tools)
                runs = ShadowRuns(
                    *(self.plan, budgeted, models.resolve, answers, self._blobs, own, now_ms, mesh_specs()),
                    sessions=sessions,
                    reads=reads,
                    toolsets=toolsets,
                )
                async with self._stage(ShadowProcessor(self.plan, runs, sessions, toolsets)) as worker:
                    yield worker, budgeted
        finally:
            await models.close()

    @asynccontextmanager
    async def _stage(self, processor: ShadowProcessor) -> AsyncIterator[Worker]:
        settings = self._settings
        if self.plan.follow:  # what only waits for its time is not waited for
            settings = settings.model_copy(update={"drain_seconds": min(settings.drain_seconds, _PATIENT_S)})
        bounds = Bounds(max_in_flight=self.plan.max_in_flight)
        worker = Worker(self.plan.stage, processor, settings, self._blobs, bounds=bounds)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()

    def _reads(self) -> AbstractAsyncContextManager[LiveReads | None]:
        """The tools that a miss may be asked of, if any may."""
        if self.plan.on_miss != "live-readonly":
            return nullcontext()
        from headrace.replay.shadow.reading import live_reads  # with all that tools need: only where they are asked

        return live_reads(Definitions(self.plan), self._pool, self._blobs)

    async def _stand_at_the_start(self) -> None:
        """The group's first offsets are the range's; where it has committed already, it goes on."""
        starts = {(Event.TOPIC, number): start for number, (start, _) in self.plan.ranges.items()}
        if await asyncio.to_thread(self._group.committed, starts):
            return
        await asyncio.to_thread(self._group.wait_empty, _EMPTY_S)
        await asyncio.to_thread(self._group.reset, starts)

    @asynccontextmanager
    async def _answers(self) -> AsyncIterator[Answers]:
        """What tools answered to live runs of the agent since the range began; and what they answer now, if it follows."""
        if not self.plan.follow:
            answers = Answers(self.plan.agent)
            await self._read_answers(answers)
            yield answers
            return
        recent = RecentAnswers(self.plan.agent)
        async with coming(self._settings, self._wire, recent):
            await self._read_answers(recent)
            yield recent

    async def _read_answers(self, answers: Answers) -> None:
        topics = (ToolCalls.TOPIC, ToolResults.TOPIC)
        start = await asyncio.to_thread(since, self._settings, topics, self.plan.from_ms)
        async with Scan(self._settings, topics, start=start) as scan:
            async for batch in scan:
                for record in batch:
                    message = await decoded(self._wire, record)
                    if isinstance(message, ToolCalls | ToolResults):
                        answers.note(message)

    async def _passes(self, plan: ShadowPlan, expected: Forecast, told: Told, budgeted: Budgeted) -> None:
        """Until the group has passed the last record of ``plan``."""
        last = {(Event.TOPIC, number): offset for number, offset in expected.last.items()}
        while True:
            committed = await asyncio.to_thread(self._group.committed, list(last))
            at = {where: one.offset for where, one in committed.items()}
            passed = _passed(plan, expected, {where[1]: offset for where, offset in at.items()})
            told(passed, budgeted.spent_usd, expected.total)
            if all(at.get(where, 0) > offset for where, offset in last.items()):
                return
            await asyncio.sleep(_POLL_S)


async def beside(worker: Worker, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; the stage's error where that ends before."""
    done, ended = asyncio.ensure_future(work), asyncio.ensure_future(worker.wait())
    try:
        await asyncio.wait([done, ended], return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            await ended
            raise FatalError("the replay's stage ended before the range did")
        return done.result()
    finally:
        for task in (done, ended):
            task.cancel()
        await asyncio.gather(done, ended, return_exceptions=True)


@asynccontextmanager
async def open_job(settings: MeshSettings, plan: ShadowPlan, pool: asyncpg.Pool) -> AsyncIterator[ShadowJob]:
    """Connected when entered."""
    blobs = open_blobs(settings, pool)
    wire = Wire("shadow", settings, blobs, topics=("agent.results",))
    await wire.open()
    try:
        with metered() as read:
            yield ShadowJob(settings, plan, wire, blobs, pool, read)
    finally:
        await wire.close()


def results_from(settings: MeshSettings) -> dict[int, int]:
    """Where ``shadow.results`` ends now, by partition. Blocks."""
    extent = Ranges(settings, "shadow").extents([RESULTS])[RESULTS]
    return {number: end for number, (_, end) in extent.partitions.items()}


def _passed(plan: ShadowPlan, expected: Forecast, at: Mapping[int, int]) -> int:
    """About how many records of the range the group has passed: offsets have gaps, so by the share of each partition."""
    total = 0
    for number, last in expected.last.items():
        start = plan.ranges[number][0]
        share = min(1.0, max(0, at.get(number, start) - start) / (last + 1 - start))
        total += int(expected.records[number] * share)
    return total
