"""What a sub-agent may use: an equal share of what is left of its parent's own limits. Pure.

The calls of one turn share alike, and each share counts for the sub-agent and all below it. So whatever they do, a
family uses no more than its first run was given, but for the turns that are under way when a limit is reached.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from headrace.messages.run import Family, RunInfo, ToolCalls
from headrace.tools.api import Asked, ToolFailure

_MAX_SECONDS: Final = 86_400.0  # of a job
_KEPT: Final = 0.1  # of the time that is left: for the parent to make something of the answers


class Shares(NamedTuple):
    """``runs`` counts the sub-agent itself."""

    runs: int
    depth: int
    tokens: int
    cost_usd: float
    seconds: float


def shares_of(asked: Asked, remaining_s: float) -> Shares:
    """Raises ``ToolFailure`` where nothing is left to share: ``limit_depth``, ``limit_runs``, ``limit_tokens``,
    ``limit_cost``, ``deadline``.
    """
    message, definition = asked.message, asked.definition
    family, delegation = message.run.family, definition.delegation
    assert delegation is not None, "who may delegate is decided before"
    depth = 1 + (family.depth if family else 0)
    if depth > delegation.max_depth:
        raise ToolFailure("limit_depth", f"agents are delegated to at most {delegation.max_depth} deep")
    siblings = sum(call.tool == asked.call.tool for call in message.calls)
    runs = min(delegation.max_runs, family.runs_left if family else delegation.max_runs) - message.progress.children
    tokens, cost = _left(message, definition.limits.max_tokens, definition.limits.max_cost_usd)
    shares = Shares(
        runs // siblings,
        depth,
        tokens // siblings,
        cost / siblings,
        min(_MAX_SECONDS, round(remaining_s * (1 - _KEPT), 3)),
    )
    for enough, type_, text in (
        (shares.runs >= 1, "limit_runs", f"{max(0, runs)} runs are left for {siblings} calls"),
        (shares.tokens >= 1, "limit_tokens", "no tokens are left to share"),
        (shares.cost_usd > 0, "limit_cost", "no money is left to share"),
        (shares.seconds > 0, "deadline", "no time is left to share"),
    ):
        if not enough:
            raise ToolFailure(type_, text)
    return shares


def family_of(run: RunInfo, shares: Shares) -> Family:
    return Family(
        parent_run_id=run.run_id,
        root_run_id=run.family.root_run_id if run.family else run.run_id,
        depth=shares.depth,
        runs_left=shares.runs - 1,
        max_tokens=shares.tokens,
        max_cost_usd=shares.cost_usd,
    )


def _left(message: ToolCalls, max_tokens: int, max_cost_usd: float) -> tuple[int, float]:
    """Tokens and dollars that the run may still use, with those that its sub-agents used."""
    family, progress = message.run.family, message.progress
    if family:
        max_tokens, max_cost_usd = min(max_tokens, family.max_tokens), min(max_cost_usd, family.max_cost_usd)
    used = progress.usage.plus(progress.delegated)
    return max_tokens - used.total_tokens, max_cost_usd - used.cost_usd
