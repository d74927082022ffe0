"""The limits of a run, and its cancellation: the first one reached ends it, and the result says which.

Checked before each model call and again before a turn's tool calls go out. Tokens and money are known only after a
call, so a run may pass those two by at most one turn. Pure: everything it looks at is recorded or comes with the
event.
"""

from __future__ import annotations

from typing import Final

from headrace.messages.agent import Limits
from headrace.messages.result import ResultError
from headrace.messages.run import CallRequest, Progress, RunInfo

MAX_CALLS: Final = 64  # of one turn: a model that asks for more is out of hand, whoever made it so
CANCELLED: Final = ResultError(type="cancelled", message="the run was cancelled on request")


def limit_reached(run: RunInfo, limits: Limits, progress: Progress, now_ms: int) -> ResultError | None:
    """Which limit forbids another model call, if any. ``error.type``:
    ``limit_steps|limit_tokens|limit_cost|timeout``.
    """
    usage = progress.usage.plus(progress.delegated)
    if progress.step >= limits.max_steps:
        return _limit("limit_steps", f"{progress.step} of {limits.max_steps} steps used")
    if usage.total_tokens >= limits.max_tokens:
        return _limit("limit_tokens", f"{usage.total_tokens} of {limits.max_tokens} tokens used")
    if usage.cost_usd >= limits.max_cost_usd:
        return _limit("limit_cost", f"{usage.cost_usd:.4f} of {limits.max_cost_usd:.4f} US dollars used")
    return timed_out(run) if now_ms >= run.deadline_ms else None


def limits_of(run: RunInfo, limits: Limits) -> Limits:
    """The limits of an agent as they hold for this run: a sub-agent's has its share of its parent's."""
    if run.family is None:
        return limits
    tokens, cost = min(limits.max_tokens, run.family.max_tokens), min(limits.max_cost_usd, run.family.max_cost_usd)
    return limits.replace(max_tokens=tokens, max_cost_usd=cost)


def too_many(requests: tuple[CallRequest, ...]) -> ResultError | None:
    """Whether a turn asks for more tool calls than one may: ``limit_tool_calls``. None of them is made then."""
    if len(requests) <= MAX_CALLS:
        return None
    return ResultError(
        type="limit_tool_calls", message=f"{len(requests)} tool calls in one turn, of {MAX_CALLS} that one may ask for"
    )


def timed_out(run: RunInfo) -> ResultError:
    seconds = (run.deadline_ms - run.started_ms) / 1000
    return ResultError(type="timeout", message=f"not finished within {seconds:g} s of its job record", retryable=True)


def output_tokens_left(limits: Limits, progress: Progress) -> int:
    """How many tokens the next turn may put out; at least 1."""
    used = progress.usage.total_tokens + progress.delegated.total_tokens
    return max(1, min(limits.max_output_tokens, limits.max_tokens - used))


def _limit(type_: str, used: str) -> ResultError:
    return ResultError(type=type_, message=f"run limit reached: {used}")
