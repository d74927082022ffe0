"""A run as its records tell it: which record led to which. Pure.

A *stretch* is one record in (the job, or tool results) and the record that came of it (tool calls, or the result). Stretches follow
each other by step; a record that was read again and led to nothing is in no stretch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.messages.base import Message
from headrace.messages.errors import HeadraceError
from headrace.messages.job import Job
from headrace.messages.lineage import ForkedFrom
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolResults
from headrace.runtime.api import Context, Source

Output = ToolCalls | AgentResult


@dataclass(frozen=True, slots=True)
class Filed:
    """A record with its message. ``value`` is what was encoded, also where the record itself only refers to it."""

    source: Source
    key: bytes | None
    value: bytes
    timestamp_ms: int
    message: Message
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def context(self) -> Context:
        return Context(self.source, self.headers, self.timestamp_ms)


@dataclass(frozen=True, slots=True)
class Stretch:
    """``step`` counts from 0; ``output`` is the message of ``led_to``."""

    step: int
    came: Filed
    led_to: Filed
    output: Output


@dataclass(frozen=True, slots=True)
class Chain:
    """A run's stretches in order. ``ended``: the last one led to the result."""

    run_id: str
    stretches: tuple[Stretch, ...]

    @property
    def ended(self) -> bool:
        return bool(self.stretches) and isinstance(self.stretches[-1].output, AgentResult)

    @property
    def forked_from(self) -> ForkedFrom | None:
        """Where the run comes from, if it is a fork."""
        job = self.stretches[0].came.message if self.stretches else None
        return job.fork.origin if isinstance(job, Job) and job.fork else None

    @property
    def result(self) -> AgentResult | None:
        last = self.stretches[-1].output if self.stretches else None
        return last if isinstance(last, AgentResult) else None


class BrokenChain(HeadraceError):
    """Records that are needed are not there (retention deleted them, or they never were)."""


def chain_of(run_id: str, records: Sequence[Filed]) -> Chain:
    """The chain of ``records``, which may be in any order. Raises ``BrokenChain``, naming what is missing."""
    outputs = sorted((pair for one in records if (pair := _output(one))), key=lambda pair: _place(pair[1]))
    if not outputs:
        if any(isinstance(one.message, ToolResults) for one in records):
            raise BrokenChain("its tool.calls and agent.results records are gone")
        return Chain(run_id, ())
    answers = {one.message.progress.step: one for one in records if isinstance(one.message, ToolResults)}
    came, stretches = _job(records, outputs[0][1]), []
    step = _begun_at(came)
    for number, (filed, output) in enumerate(outputs):
        if came is None or _steps(output) > step + 1:
            raise BrokenChain(f"the record before {filed.source} is gone")
        stretches.append(Stretch(number, came, filed, output))
        step = _steps(output)
        came = answers.get(step) if isinstance(output, ToolCalls) else None
    return Chain(run_id, tuple(stretches))


def _output(filed: Filed) -> tuple[Filed, Output] | None:
    """Of reasoning: calls of a later round are those of an earlier one, let go by orchestration when they had waited."""
    message = filed.message
    if isinstance(message, ToolCalls) and message.round == 0:
        return filed, message
    return (filed, message) if isinstance(message, AgentResult) else None


def _place(output: Output) -> tuple[bool, int]:
    return isinstance(output, AgentResult), _steps(output)


def _steps(output: Output) -> int:
    """Model turns that led to records, this one's included: one stretch adds one at most."""
    return output.steps if isinstance(output, AgentResult) else output.progress.step


def _begun_at(job: Filed | None) -> int:
    """The step that the run begins after: a fork begins where it left the other run."""
    fork = job.message.fork if job and isinstance(job.message, Job) else None
    return fork.origin.step if fork else 0


def _job(records: Sequence[Filed], first: Output) -> Filed | None:
    """The job record that began the run: of several with its id, the one whose time the run has as its start."""
    started = first.started_ms if isinstance(first, AgentResult) else first.run.started_ms
    jobs = sorted((one for one in records if isinstance(one.message, Job)), key=lambda one: one.source)
    return next((one for one in jobs if one.timestamp_ms == started), jobs[0] if jobs else None)
