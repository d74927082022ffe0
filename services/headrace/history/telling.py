"""What a run was given and decided, record by record, as two runs are compared by it. Pure.

A fork is told from the beginning: the records that it took are those of the run that it left. In place of the tool results at which
it left stand those that its job brings along, edited or not; calls that it made anew count with what came of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.history.chain import Chain, Filed
from headrace.messages import ids
from headrace.messages.base import JsonObject
from headrace.messages.fork import Taken
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCall, ToolCalls, ToolOutcome, ToolResults, Usage
from headrace.toolspecs.delegate_to_agent import DELEGATE_TO_AGENT

_KINDS: Final[dict[type, str]] = {
    Job: "job",
    ToolCalls: "tool_calls",
    ToolResults: "tool_results",
    AgentResult: "result",
}
_ORDER: Final = tuple(_KINDS.values())
_RESULT_KIND: Final = _KINDS[ToolResults]
_RESULTS: Final = _ORDER.index(_RESULT_KIND)


class Side(NamedTuple):
    """One record of a run: where it lies, what it says, and what the model calls that led to it used.

    ``children``: runs of the sub-agents that its calls asked for, by call id.
    """

    place: str
    content: JsonObject
    usage: Usage
    children: Mapping[str, str] = {}


class Entry(NamedTuple):
    """A record at its step: the job is at 0, the results of the model's first tool calls at 1."""

    step: int
    kind: str
    side: Side

    @property
    def order(self) -> tuple[int, int]:
        return self.step, _ORDER.index(self.kind)


def told(lineage: Sequence[Chain]) -> list[Entry]:
    """The records of the first chain, after those that it took from the second one, and so on."""
    chain = lineage[0]
    taken = _taken(chain)
    if taken is None:
        return list(_flow(chain, 0, skip=0))
    step = taken.progress.step
    origin = told(lineage[1:]) if len(lineage) > 1 else []
    before = [entry for entry in origin if entry.order < (step, _RESULTS)]
    first = chain.stretches[0]
    if not taken.open_calls:
        at_fork = Side(str(first.came.source), _results(taken.results), Usage())
        return [*before, Entry(step, _RESULT_KIND, at_fork), *_flow(chain, step, skip=1)]
    if not isinstance(first.output, ToolCalls):
        return [*before, *_flow(chain, step, skip=1)]
    if before:
        before[-1] = _made_anew(before[-1], _side(first.led_to))
    return [*before, *_flow(chain, step, skip=2)]


def _made_anew(calls: Entry, made: Side) -> Entry:
    """The turn of the other run, some calls of which the fork made anew."""
    side = calls.side._replace(place=made.place, usage=made.usage, children={**calls.side.children, **made.children})
    return calls._replace(side=side)


def _taken(chain: Chain) -> Taken | None:
    job = chain.stretches[0].came.message if chain.stretches else None
    return job.fork.taken if isinstance(job, Job) and job.fork else None


def _flow(chain: Chain, step: int, *, skip: int) -> Iterator[Entry]:
    """Records of the run itself but for the first ``skip``; ``step`` is where it begins."""
    records = [one for stretch in chain.stretches for one in (stretch.came, stretch.led_to)]
    for number, filed in enumerate(records[skip:], start=skip % 2):
        yield Entry(step + (number + 1) // 2, _KINDS[type(filed.message)], _side(filed))


def _side(filed: Filed) -> Side:
    message = filed.message
    usage = Usage.of(message.turns) if isinstance(message, ToolCalls | AgentResult) else Usage()
    children = dict(_children(message)) if isinstance(message, ToolCalls) else {}
    return Side(str(filed.source), _content(filed), usage, children)


def _children(calls: ToolCalls) -> Iterator[tuple[str, str]]:
    """Call id and run. A sub-agent that is none of this mesh has no run of that id."""
    run, step = calls.run, calls.progress.step
    for call in calls.calls:
        if call.tool == DELEGATE_TO_AGENT.name:
            yield call.call_id, ids.child_job_id(run.tenant, run.run_id, step, call.call_id)


def _content(filed: Filed) -> JsonObject:
    match filed.message:
        case Job() as job:
            event = job.event.data if job.event else None
            return _given(agent=job.agent, prompt=job.prompt, input=job.input, event=event)
        case ToolCalls() as calls:
            said = calls.turns[-1] if calls.turns else None
            return _given(text=said and (said.text or said.text_ref), calls=[_call(one) for one in calls.calls])
        case ToolResults() as results:
            return _results(results.results)
        case AgentResult() as result:
            return _given(
                status=result.status,
                error=result.error and result.error.plain(),
                output=result.output_ref or result.output,
            )
        case other:
            raise AssertionError(f"{type(other).__name__} is no record of a run")


def _call(call: ToolCall) -> JsonObject:
    return _given(tool=call.tool, arguments=call.arguments_ref or call.arguments)


def _results(results: Sequence[ToolOutcome]) -> JsonObject:
    return {
        "results": [
            _given(tool=one.tool, status=one.status, content=_answer(one), error=one.error and one.error.plain())
            for one in results
        ]
    }


def _answer(outcome: ToolOutcome) -> Any:
    """A sub-agent's without the id of its run, which is its own in every run; of a large one what is shown of it."""
    if outcome.tool != DELEGATE_TO_AGENT.name:
        return outcome.content_ref or outcome.content
    if isinstance(outcome.content, dict):
        return {name: value for name, value in outcome.content.items() if name != "run_id"}
    return outcome.preview or outcome.content_ref or outcome.content


def _given(**values: Any) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None}
