"""The report of a replay as plain JSON: what the HTML page, the terminal and the table of replays are made of. Pure."""

from __future__ import annotations

from typing import Any

from headrace.messages.agent import AgentDefinition
from headrace.replay.shadow.account import Account
from headrace.replay.shadow.compare import Agreement, compare
from headrace.replay.shadow.plan import ShadowPlan
from headrace.replay.shadow.statistics import Interval

Facts = dict[str, Any]


def report(plan: ShadowPlan, account: Account, field: str | None = None) -> Facts:
    """``field``: the field of the output that is the outcome (default: the first with a closed set of values)."""
    compared = compare(account, plan.live, plan.candidate, field)
    return {
        "replay": _replay(plan),
        "account": _account(account),
        "outcome_field": compared.outcome_field,
        "transitions": [
            {"live": then, "shadow": now, "count": count} for (then, now), count in sorted(compared.transitions.items())
        ],
        "agreement": _agreement(compared.agreement),
        "baseline": _agreement(compared.noise),
        "fields": [one._asdict() | {"examples": [*map(_example, one.examples)]} for one in compared.fields],
        "deltas": [one._asdict() | {"difference": one.difference._asdict()} for one in compared.deltas],
        "worst": [one._asdict() for one in compared.worst],
        "sessions": account.sessions.facts() if plan.session else None,
        "evaluators": account.evaluated,
        "cost": _cost(account),
        "read": {"bytes": sum(account.read.values()), "topics": account.read},
    }


def _replay(plan: ShadowPlan) -> Facts:
    return {
        "id": plan.replay_id,
        "agent": plan.agent,
        "live": _definition(plan.live),
        "candidate": _definition(plan.candidate),
        "from_ms": plan.from_ms,
        "to_ms": plan.to_ms,
        "partitions": {str(number): list(stretch) for number, stretch in sorted(plan.ranges.items())},
        "sample": plan.sample,
        "baseline": plan.baseline,
        "cohort": plan.cohort,
        "session": plan.session,
        "on_miss": plan.on_miss,
        "max_cost_usd": plan.max_cost_usd,
    }


def _definition(definition: AgentDefinition) -> Facts:
    return {
        "version": definition.version,
        "model": definition.model,
        "definition_hash": definition.definition_hash,
        "prompt_hash": definition.prompt_hash,
    }


def _account(account: Account) -> Facts:
    return {
        "records": account.records,
        "replayed": account.replayed,
        "skipped": dict(sorted(account.skipped.items())),
        "failed": dict(sorted(account.failed.items())),
        "missing": account.missing,
        "complete": account.complete,
        "answered_live": account.answered_live,
        "without_live_run": sum(pair.live is None for pair in account.pairs),
    }


def _cost(account: Account) -> Facts:
    return {
        "replay_usd": account.spent_usd,
        "judges_usd": account.judges_usd,
        "live_usd": sum(pair.live.usage.cost_usd for pair in account.pairs if pair.live),
    }


def _agreement(agreement: Agreement) -> Facts:
    return {"outcome": _interval(agreement.outcome), "output": _interval(agreement.output)}


def _interval(interval: Interval | None) -> Facts | None:
    return interval._asdict() if interval else None


def _example(example: tuple[str, Any, Any]) -> Facts:
    return {"event_uid": example[0], "live": example[1], "shadow": example[2]}
