"""What a replay will cost, about: what the live runs of the agent cost in the range, at the price of the models that are asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

import asyncpg

from headrace.messages.run import Usage
from headrace.models import pricing
from headrace.models.resolve import OFFLINE
from headrace.postgres.errors import translated
from headrace.replay.evaluators.definitions import Judge
from headrace.replay.shadow.plan import InvalidPlan, ShadowPlan
from headrace.replay.shadow.range import Forecast

_MEANS: Final = """
SELECT count(*) AS runs, avg(input_tokens) AS input, avg(output_tokens) AS output, avg(cache_read_tokens) AS read,
  avg(cache_write_tokens) AS written, avg(cost_usd) AS cost
FROM runs WHERE tenant = $1 AND agent_name = $2 AND replay_id IS NULL AND created_at >= $3 AND state IN ('completed', 'failed')
"""
_QUESTION: Final = 500  # tokens
_VERDICT: Final = 80


class Estimate(NamedTuple):
    """``cost_usd`` of all runs, by ``live_runs`` of them. ``paid`` names the models that cost money, or may: empty if none."""

    cost_usd: float
    paid: str
    live_runs: int


async def estimate(pool: asyncpg.Pool, plan: ShadowPlan, expected: Forecast, resolve: Callable[[str], str]) -> Estimate:
    """Raises what ``resolve`` raises for a model that can't be told."""
    since = datetime.fromtimestamp(plan.from_ms / 1000, UTC)
    with translated():
        means = cast("Any", await pool.fetchrow(_MEANS, plan.tenant, plan.agent, since))  # an aggregate has a row
    counts = runs_by_model(plan, expected)
    judged = expected.chosen + expected.baseline
    judges = [resolve(one.model) for one in plan.evaluators if isinstance(one, Judge) and (judged or plan.follow)]
    if OFFLINE in judges:
        raise InvalidPlan("a judge has to be a model; the offline rules can't judge")
    specs = {spec: resolve(spec) for spec in counts}
    paid = sorted({spec for spec in (*specs.values(), *judges) if spec != OFFLINE})
    cost = 0.0
    for asked, spec in specs.items():
        cost += counts[asked] * await asyncio.to_thread(_price, spec, means)
    for spec in judges:
        cost += judged * await asyncio.to_thread(_price, spec, _judging(means))
    return Estimate(cost, ", ".join(paid), int(means["runs"]))


def runs_by_model(plan: ShadowPlan, expected: Forecast) -> Counter[str]:
    """How many runs ask each model, as the definitions name it; candidate and baseline may have the same one.

    Left out is what is never asked. A replay that follows asks its models also where nothing has come yet.
    """
    counts: Counter[str] = Counter()
    for model, runs, share in (
        (plan.candidate.model, expected.chosen, plan.sample),
        (plan.live.model, expected.baseline, plan.baseline),
    ):
        if runs or (plan.follow and share):
            counts[model] += runs
    return counts


def _judging(means: Any) -> dict[str, Any]:
    """The usage of one verdict, at most about: the event, which was the run's input, and two answers. Equal answers ask nobody."""
    most = {"input": (means["input"] or 0) + 2 * (means["output"] or 0) + _QUESTION, "output": _VERDICT}
    return {"runs": means["runs"], "read": 0, "written": 0, "cost": 0.0, **most}


def _price(spec: str, means: Any) -> float:
    """US dollars of one run with the live runs' mean usage."""
    if spec == OFFLINE or not means["runs"]:
        return 0.0
    usage = Usage(
        input_tokens=round(means["input"] or 0),
        output_tokens=round(means["output"] or 0),
        cache_read_tokens=round(means["read"] or 0),
        cache_write_tokens=round(means["written"] or 0),
    )
    provider, _, name = spec.partition(":")
    priced = pricing.price(provider, (name,), usage)
    return priced.usd if priced.known else float(means["cost"] or 0.0)
