"""Asking judges, within the replay's budget, and never twice for the same verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.models import ModelError
from headrace.postgres.json import storable_text
from headrace.reasoning.admission import ResolveModel
from headrace.reasoning.entries import canonical
from headrace.replay.evaluators.checks import Judged, Side, applies, view
from headrace.replay.evaluators.definitions import Judge
from headrace.replay.evaluators.judge import Which, asked, first_is_live, meaning
from headrace.replay.evaluators.verdicts import Kept, Key, Verdicts
from headrace.replay.shadow.spending import Budgeted, BudgetSpent

_NOT_ASKED: Final = Judged("not_judged", "the replay's budget is spent")


class Judges:
    """``kept`` is what ``verdicts`` held when this began; ``models`` counts what is spent."""

    def __init__(
        self, replay_id: str, models: Budgeted, resolve: ResolveModel, verdicts: Verdicts, kept: Mapping[Key, Kept]
    ) -> None:
        self._replay_id = replay_id
        self._models = models
        self._resolve = resolve
        self._verdicts = verdicts
        self._kept = dict(kept)

    @property
    def spent_usd(self) -> float:
        """For verdicts, by all attempts."""
        return sum(one.cost_usd for one in self._kept.values())

    async def verdict(
        self, judge: Judge, uid: str, event: Mapping[str, Any], side: Side, live: Side | None, which: Which
    ) -> Judged:
        """Of ``side``, against live. The same answer is as good, and an error is worse than an answer: neither asks the model."""
        if not applies(judge, view(event, side, live)):
            return Judged("not_applicable", "when is not true")
        if live is None or live.error is not None:
            return Judged("not_applicable", "no live answer to compare with")
        if side.error is not None:
            return Judged("fail", f"the run ended in {side.error}")
        if canonical(side.output) == canonical(live.output):
            return Judged("pass", "the same answer")
        key = Key(judge.name, which, uid)
        if kept := self._kept.get(key):
            return kept.judged
        return await self._asked(judge, key, event, side, live, which)

    async def _asked(
        self, judge: Judge, key: Key, event: Mapping[str, Any], side: Side, live: Side, which: Which
    ) -> Judged:
        live_first = first_is_live(self._replay_id, judge.name, key.event_uid, which)
        a, b = (live.output, side.output) if live_first else (side.output, live.output)
        try:
            spec = self._resolve(judge.model)
            reply = await self._models.complete(spec, asked(judge, spec.partition(":")[2], event, a, b))
        except BudgetSpent:
            return _NOT_ASKED
        except ModelError as error:
            return Judged("not_judged", f"the judge's model failed: {error.kind}")
        judged = meaning(reply.text, live_first=live_first)
        kept = Kept(judged._replace(why=storable_text(judged.why)), reply.usage.cost_usd)
        await self._verdicts.keep(key, kept)
        self._kept[key] = kept
        return kept.judged
