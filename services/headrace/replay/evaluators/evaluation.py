"""All evaluators over all pairs of a replay: the candidate's runs, live's and the baseline's, judged alike.

Reads the range once more, for its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from headrace.blobs import BlobStore
from headrace.control.replays.leases import Purse
from headrace.messages import strict_json
from headrace.messages.errors import BadMessage
from headrace.messages.event import Event
from headrace.messages.result import AgentResult
from headrace.models.resolve import Models
from headrace.models.settings import ModelSettings
from headrace.registry.triggers import view
from headrace.replay.evaluators.checks import Judged, Side, side_of, verdict
from headrace.replay.evaluators.definitions import Evaluator, Judge
from headrace.replay.evaluators.judge import Which
from headrace.replay.evaluators.judging import Judges
from headrace.replay.evaluators.tally import Tally
from headrace.replay.evaluators.verdicts import Verdicts
from headrace.replay.shadow.account import Account, Pair
from headrace.replay.shadow.plan import ShadowPlan
from headrace.replay.shadow.range import events_of
from headrace.replay.shadow.spending import Budgeted
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

_LOST: Final = "(the stored answer can't be read)"
_AS_LIVE: Final = Judged("not_applicable", "live is the measure")


async def evaluate(
    settings: MeshSettings, plan: ShadowPlan, wire: Wire, blobs: BlobStore, pool: asyncpg.Pool, account: Account
) -> None:
    """Fills ``account.evaluated``, in the order of the plan, and adds what judges cost to ``account.spent_usd``."""
    if not plan.evaluators:
        return
    pairs = {pair.event_uid: pair for pair in account.pairs}
    async with _judges(plan, pool, account.spent_usd) as judges:
        work = _Evaluation(plan, blobs, judges)
        async for batch in events_of(settings, plan.ranges, wire):
            found = [(one.event, pairs[one.event.uid]) for one in batch if one.event and one.event.uid in pairs]
            await work.add_all(found)
        account.spent_usd += judges.spent_usd
        account.judges_usd = judges.spent_usd
    account.evaluated = [tally.facts() for tally in work.tallies]


@asynccontextmanager
async def _judges(plan: ShadowPlan, pool: asyncpg.Pool, spent_usd: float) -> AsyncIterator[Judges]:
    verdicts = Verdicts(pool, plan.tenant, plan.replay_id)
    kept = await verdicts.all() if any(isinstance(one, Judge) for one in plan.evaluators) else {}
    models = Models(ModelSettings())
    spent = spent_usd + sum(one.cost_usd for one in kept.values())
    try:
        purse = Purse(pool, plan.tenant, plan.replay_id)
        budgeted = Budgeted(models, plan.max_cost_usd, purse, spent_usd=await purse.at_least(spent))
        yield Judges(plan.replay_id, budgeted, models.resolve, verdicts, kept)
    finally:
        await models.close()


class _Evaluation:
    def __init__(self, plan: ShadowPlan, blobs: BlobStore, judges: Judges) -> None:
        self.tallies = [Tally(one) for one in plan.evaluators]
        self._blobs = blobs
        self._judges = judges
        self._slots = asyncio.Semaphore(plan.max_in_flight)

    async def add_all(self, found: Sequence[tuple[Event, Pair]]) -> None:
        """Judged side by side, booked in their order."""
        every = await asyncio.gather(*(self._verdicts(event, pair) for event, pair in found))
        for (_, pair), by_evaluator in zip(found, every, strict=True):
            live_run = pair.live.job_id if pair.live else None
            for tally, verdicts in zip(self.tallies, by_evaluator, strict=True):
                tally.add(verdicts, pair.event_uid, live_run=live_run, shadow_run=pair.shadow.job_id)

    async def _verdicts(self, event: Event, pair: Pair) -> list[dict[str, Judged]]:
        async with self._slots:
            live = await self._side(pair.live) if pair.live else None
            candidate = await self._side(pair.shadow)
            baseline = await self._side(pair.baseline) if pair.baseline else None
            seen = view(event)
            found = []
            for tally in self.tallies:
                one = tally.evaluator
                verdicts = {"candidate": await self._of(one, event.uid, seen, candidate, live, "candidate")}
                if live is not None:
                    verdicts["live"] = _AS_LIVE if one.compares_with_live else verdict(one, seen, live, live)
                if baseline is not None:
                    verdicts["baseline"] = await self._of(one, event.uid, seen, baseline, live, "baseline")
                found.append(verdicts)
            return found

    async def _of(
        self, one: Evaluator, uid: str, event: Mapping[str, Any], side: Side, live: Side | None, which: Which
    ) -> Judged:
        if isinstance(one, Judge):
            return await self._judges.verdict(one, uid, event, side, live, which)
        return verdict(one, event, side, live)

    async def _side(self, result: AgentResult) -> Side:
        """With its answer, from the blob store where its record has a reference only."""
        output = result.output
        if result.output_ref is not None:
            try:
                output = strict_json.loads(await self._blobs.get(result.output_ref))
            except BadMessage:
                output = _LOST
        return side_of(result, output)
