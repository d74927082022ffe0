"""A verdict by rule. Pure: the same run always gets the same one.

pass            it holds
fail            it doesn't; a run that ended in an error fails, and so does an answer in which nothing like the value is found
not_applicable  ``when`` is not true of it, nothing is expected of it, or it is the live run and live is the measure
unparsable      a judge answered with something else than a verdict
not_judged      a judge was not asked, or did not answer: the budget is spent, or its provider failed
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec
import re2  # type: ignore[import-untyped]

from headrace.history.differences import bounded
from headrace.messages.result import AgentResult
from headrace.reasoning.entries import canonical
from headrace.registry.filters import FilterFailed, compile_filter
from headrace.registry.schemas import compile_schema
from headrace.replay.evaluators.definitions import (
    Comparing,
    Evaluator,
    Exact,
    Expressed,
    Judge,
    Numeric,
    Pattern,
    Schema,
)

Verdict = Literal["pass", "fail", "not_applicable", "unparsable", "not_judged"]
_MAX_MEMORY: Final = 8 * 2**20  # bytes of one compiled pattern


class InvalidPattern(ValueError):
    """Not a pattern that RE2 takes."""


class Judged(NamedTuple):
    """``why`` is for readers, and may quote the run."""

    verdict: Verdict
    why: str = ""


class Side(NamedTuple):
    """One run as evaluators see it: its answer whole, also where its record has a reference."""

    run_id: str
    output: Any
    error: str | None
    run: Mapping[str, float]


def side_of(result: AgentResult, output: Any) -> Side:
    run = {
        "cost_usd": result.usage.cost_usd,
        "latency_ms": result.completed_ms - result.started_ms,
        "steps": result.steps,
        "tokens": result.usage.total_tokens,
    }
    return Side(result.job_id, output, result.error.type if result.error else None, run)


def view(event: Mapping[str, Any], side: Side, live: Side | None) -> dict[str, Any]:
    """What expressions see of a run."""
    return {
        "event": event,
        "output": side.output,
        "error": side.error,
        "run": side.run,
        "live": live.output if live else None,
    }


def applies(one: Evaluator, seen: dict[str, Any]) -> bool:
    """Whether its ``when`` is true."""
    try:
        return one.when is None or compile_filter(one.when).passes(seen)
    except FilterFailed:
        return False


def verdict(one: Evaluator, event: Mapping[str, Any], side: Side, live: Side | None) -> Judged:
    """Of one run, by every kind but ``judge``. Where live is the measure, don't ask this of the live run."""
    assert not isinstance(one, Judge), "a judge is asked, not computed"
    seen = view(event, side, live)
    if not applies(one, seen):
        return Judged("not_applicable", "when is not true")
    expected = _expected(one, seen, live) if isinstance(one, Comparing) else None
    if isinstance(expected, Judged):
        return expected
    if side.error is not None:
        return Judged("fail", f"the run ended in {side.error}")
    try:
        return _held(one, seen, expected)
    except FilterFailed as error:
        return Judged("fail", f"the expression fails on it: {str(error)[:200]}")


def _expected(one: Comparing, seen: dict[str, Any], live: Side | None) -> Any:
    """What ``one`` compares with; a ``Judged`` where there is nothing."""
    if one.source == "expected":
        return one.expected
    try:
        if one.expected_from is not None:
            found = compile_filter(one.expected_from).value(seen)
        elif live is None or live.error is not None:
            return Judged("not_applicable", "no live answer to compare with")
        else:
            return compile_filter(one.value).value(seen | {"output": live.output, "run": live.run})
    except FilterFailed:
        return Judged("not_applicable", "what is expected can't be told")
    return Judged("not_applicable", "nothing is expected") if found is None else found


def _held(one: Evaluator, seen: dict[str, Any], expected: Any) -> Judged:
    """Raises ``FilterFailed``."""
    match one:
        case Expressed(check=check):
            return _judged(compile_filter(check).passes(seen), "check is not true")
        case Pattern(value=value, pattern=pattern, absent=absent):
            found = compile_filter(value).value(seen)
            text = found if isinstance(found, str) else canonical(found)
            is_there = compile_pattern(pattern).search(text) is not None
            return _judged(is_there is not absent, f"{'found' if is_there else 'not found'} in {bounded(text)}")
        case Schema(value=value, schema=schema):
            wrong = next(iter(_validator(canonical(schema)).iter_errors(compile_filter(value).value(seen))), None)
            return _judged(wrong is None, str(bounded(wrong.message)) if wrong else "")
        case Exact(value=value):
            got = compile_filter(value).value(seen)
            return _judged(canonical(got) == canonical(expected), _compared(got, expected))
        case Numeric(value=value):
            got = compile_filter(value).value(seen)
            return _near(one, got, expected)
    raise AssertionError(f"no rule for the kind {one.kind}")


def _near(one: Numeric, got: Any, expected: Any) -> Judged:
    if not _is_number(expected):
        return Judged("not_applicable", "what is expected is no number")
    if not _is_number(got):
        return Judged("fail", f"not a number: {bounded(got)}")
    allowed = max(one.tolerance, one.relative * abs(expected))
    return _judged(abs(got - expected) <= allowed, _compared(got, expected))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _judged(held: bool, why: str) -> Judged:
    return Judged("pass") if held else Judged("fail", why)


def _compared(got: Any, expected: Any) -> str:
    return f"{bounded(got)!r}, expected {bounded(expected)!r}"


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> Any:
    """RE2: linear in the text, so no text can hold a report up. Raises ``InvalidPattern``."""
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else "it does not compile"
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise InvalidPattern(f"not valid for RE2: {text[:200]}") from None


@lru_cache(maxsize=128)
def _validator(schema: str) -> Any:
    return compile_schema(msgspec.json.decode(schema))
