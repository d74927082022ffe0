"""Two runs side by side: what each was given, decided and paid, aligned by step. Pure.

Compared is what was said and done: ids, times and usage differ between any two runs and are no difference. Who ran (version,
definition, model) is told, and is no difference either: it is why one compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from headrace.messages.base import JsonObject
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults, Usage
from headrace.replay.chain import Chain, Filed
from headrace.replay.differences import Difference, differences


class Side(NamedTuple):
    """One record of a run: where it lies, what it says, and what the model calls that led to it used."""

    place: str
    content: JsonObject
    usage: Usage


class Row(NamedTuple):
    """One record of each run (None: that run has ended before). ``kind``: job, tool_calls, tool_results or result."""

    step: int
    kind: str
    left: Side | None
    right: Side | None
    difference: Difference | None


class Who(NamedTuple):
    """Which agent ran, on which model, and what all its model calls used."""

    agent: str
    definition_hash: str
    model: str
    usage: Usage


class Alignment(NamedTuple):
    """``first`` is the first row that differs."""

    rows: tuple[Row, ...]
    first: Row | None
    left: Who
    right: Who


def align(left: Chain, right: Chain) -> Alignment:
    """The records of two runs in the order of the flow."""
    rows = tuple(_rows(left, right))
    first = next((row for row in rows if row.difference), None)
    return Alignment(rows, first, _who(left), _who(right))


def _rows(left: Chain, right: Chain) -> Iterator[Row]:
    for number, (one, other) in enumerate(zip_longest(_records(left), _records(right))):
        a, b = _side(one) if one else None, _side(other) if other else None
        kind = _kind((one or other).message)
        found = next(differences(a.content if a else "(ended)", b.content if b else "(ended)"), None)
        yield Row((number + 1) // 2, kind, a, b, found)


def _records(chain: Chain) -> Iterator[Filed]:
    for stretch in chain.stretches:
        yield stretch.came
        yield stretch.led_to


def _side(filed: Filed) -> Side:
    message = filed.message
    usage = Usage.of(message.turns) if isinstance(message, ToolCalls | AgentResult) else Usage()
    return Side(str(filed.source), _content(filed), usage)


def _kind(message: object) -> str:
    kinds = {Job: "job", ToolCalls: "tool_calls", ToolResults: "tool_results", AgentResult: "result"}
    return kinds[type(message)]  # type: ignore[index]


def _content(filed: Filed) -> JsonObject:
    match filed.message:
        case Job() as job:
            event = job.event.data if job.event else None
            return _given(agent=job.agent, prompt=job.prompt, input=job.input, event=event)
        case ToolCalls() as calls:
            said = calls.turns[-1] if calls.turns else None
            return _given(
                text=said and (said.text or said.text_ref),
                calls=[_given(tool=one.tool, arguments=one.arguments_ref or one.arguments) for one in calls.calls],
            )
        case ToolResults() as results:
            return {
                "results": [
                    _given(
                        tool=one.tool,
                        status=one.status,
                        content=one.content_ref or one.content,
                        error=one.error and one.error.plain(),
                    )
                    for one in results.results
                ]
            }
        case AgentResult() as result:
            return _given(
                status=result.status,
                error=result.error and result.error.plain(),
                output=result.output_ref or result.output,
            )
        case other:
            raise AssertionError(f"{type(other).__name__} is no record of a run")


def _given(**values: Any) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None}


def _who(chain: Chain) -> Who:
    last = chain.stretches[-1].output
    usage = Usage.of(turn for stretch in chain.stretches for turn in stretch.output.turns)
    if isinstance(last, AgentResult):
        return Who(f"{last.agent_name}@{last.agent_version}", last.definition_hash, last.metadata.llm_model, usage)
    agent = last.run.agent
    return Who(f"{agent.name}@{agent.version}", agent.definition_hash, last.run.model, usage)
