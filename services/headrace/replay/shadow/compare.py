"""What the pairs of live and shadow results say: outcomes, agreement, fields, cost, tokens and time. Pure.

An *outcome* is how a run ended, in one word: the value of one field of its output, ``completed`` where there is no such field, or
the type of its error. A field of the output is named by its JSON pointer; lists are compared whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.history.differences import bounded
from headrace.messages.agent import AgentDefinition
from headrace.messages.result import AgentResult
from headrace.replay.shadow.account import Account, Pair
from headrace.replay.shadow.statistics import Interval, mean_difference, quantiles, share

EXAMPLES: Final = 5  # of each field that differs
WORST: Final = 20  # runs
NO_RUN: Final = "(no live run)"
_DEPTH: Final = 4
_ABSENT: Final = "(not there)"


class Agreement(NamedTuple):
    """Shares of pairs that end in the same outcome, and that give the very same output."""

    outcome: Interval | None
    output: Interval | None


class FieldDifference(NamedTuple):
    """``examples`` are (event, live value, shadow value)."""

    field: str
    compared: int
    differ: int
    examples: tuple[tuple[str, Any, Any], ...]


class Delta(NamedTuple):
    """Means over the pairs that have a live run, the mean of their differences, and ``quantiles`` of both sides."""

    name: str
    live: float
    shadow: float
    difference: Interval
    spread: dict[str, tuple[float, ...]]


class Worst(NamedTuple):
    """A pair that differs much; both runs by their ids."""

    event_uid: str
    event_type: str
    live_run: str | None
    shadow_run: str
    live_outcome: str
    shadow_outcome: str
    fields: tuple[str, ...]


class Comparison(NamedTuple):
    """``transitions`` counts pairs by (live outcome, shadow outcome)."""

    outcome_field: str | None
    transitions: Mapping[tuple[str, str], int]
    agreement: Agreement
    noise: Agreement
    fields: tuple[FieldDifference, ...]
    deltas: tuple[Delta, ...]
    worst: tuple[Worst, ...]


def compare(
    account: Account, live: AgentDefinition, candidate: AgentDefinition, field: str | None = None
) -> Comparison:
    """``field``: the top-level field of the output that is the outcome; by default the first one with a closed set of values."""
    field = field or outcome_field(live) or outcome_field(candidate)
    pairs = account.pairs
    both = [(pair, pair.live) for pair in pairs if pair.live is not None]
    transitions = Counter((outcome(pair.live, field), outcome(pair.shadow, field)) for pair in pairs)
    return Comparison(
        outcome_field=field,
        transitions=transitions,
        agreement=_agreement([(then, pair.shadow) for pair, then in both], field),
        noise=_agreement([(then, pair.baseline) for pair, then in both if pair.baseline is not None], field),
        fields=tuple(_fields(pairs)),
        deltas=tuple(_deltas([(then, pair.shadow) for pair, then in both])),
        worst=tuple(_worst(pairs, field)),
    )


def outcome_field(definition: AgentDefinition) -> str | None:
    """The first property of the output schema whose values are a closed set."""
    properties = definition.output_schema.get("properties")
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        if isinstance(schema, dict) and ("enum" in schema or schema.get("type") == "boolean"):
            return str(name)
    return None


def outcome(result: AgentResult | None, field: str | None) -> str:
    """How a run ended, in one word."""
    if result is None:
        return NO_RUN
    if result.error is not None:
        return result.error.type
    if field is None or not isinstance(result.output, dict) or field not in result.output:
        return "completed"
    return str(result.output[field])[:80]


def leaves(value: Any, where: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """The values of an output by JSON pointer."""
    if isinstance(value, dict) and value and depth:
        for key, item in value.items():
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from leaves(item, f"{where}/{step}", depth - 1)
    else:
        yield where or "/", value


def _agreement(results: Sequence[tuple[AgentResult, AgentResult]], field: str | None) -> Agreement:
    same_outcome = sum(outcome(then, field) == outcome(now, field) for then, now in results)
    same_output = sum(_answer(then) == _answer(now) for then, now in results)
    return Agreement(share(same_outcome, len(results)), share(same_output, len(results)))


def _answer(result: AgentResult) -> tuple[str, Any, Any]:
    return (result.error.type if result.error else "", result.output, result.output_ref)


def _fields(pairs: Sequence[Pair]) -> Iterator[FieldDifference]:
    """Of the pairs of which both have an output; most differing first."""
    compared: Counter[str] = Counter()
    differing: defaultdict[str, list[tuple[str, Any, Any]]] = defaultdict(list)
    for pair in pairs:
        if pair.live is None or pair.live.error or pair.shadow.error:
            continue
        for name, then, now in _sides(pair.live.output, pair.shadow.output):
            compared[name] += 1
            if then != now:
                differing[name].append((pair.event_uid, then, now))
    for name, _ in sorted(compared.items(), key=lambda item: (-len(differing[item[0]]), item[0])):
        found = differing[name]
        examples = tuple((uid, bounded(then), bounded(now)) for uid, then, now in found[:EXAMPLES])
        yield FieldDifference(name, compared[name], len(found), examples)


def _sides(live: Any, shadow: Any) -> Iterator[tuple[str, Any, Any]]:
    then, now = dict(leaves(live)), dict(leaves(shadow))
    for name in [*then, *(name for name in now if name not in then)]:
        yield name, then.get(name, _ABSENT), now.get(name, _ABSENT)


def _deltas(results: Sequence[tuple[AgentResult, AgentResult]]) -> Iterator[Delta]:
    measures: dict[str, Callable[[AgentResult], float]] = {
        "cost_usd": lambda one: one.usage.cost_usd,
        "input_tokens": lambda one: float(one.usage.input_tokens),
        "output_tokens": lambda one: float(one.usage.output_tokens),
        "steps": lambda one: float(one.steps),
        "latency_ms": lambda one: float(one.completed_ms - one.started_ms),
    }
    for name, measure in measures.items():
        before, after = [measure(then) for then, _ in results], [measure(now) for _, now in results]
        if difference := mean_difference(before, after):
            spread = {"live": quantiles(before), "shadow": quantiles(after)}
            yield Delta(name, sum(before) / len(before), sum(after) / len(after), difference, spread)


def _worst(pairs: Sequence[Pair], field: str | None) -> list[Worst]:
    """First those whose outcome changed, then by how many fields differ; among equals by event."""
    found = [worst for pair in pairs if (worst := _difference(pair, field))]
    return sorted(found, key=lambda one: (one.live_outcome == one.shadow_outcome, -len(one.fields), one.event_uid))[
        :WORST
    ]


def _difference(pair: Pair, field: str | None) -> Worst | None:
    live = pair.live
    then, now = outcome(live, field), outcome(pair.shadow, field)
    both = live is not None and not live.error and not pair.shadow.error
    fields = [name for name, a, b in _sides(live.output, pair.shadow.output) if a != b] if live and both else []
    if then == now and not fields:
        return None
    live_run = live.job_id if live else None
    return Worst(pair.event_uid, pair.event_type, live_run, pair.shadow.job_id, then, now, tuple(fields))
