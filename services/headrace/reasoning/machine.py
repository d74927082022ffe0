"""What a run does next, as a table: state x event -> state + commands.

It owns every decision of a run: when to ask the model, when a turn's tool calls go out, when an answer is repaired,
when and how the run ends. It refuses to know how anything is done: no I/O, no clock, no randomness, no conversation.
Time comes in with each event (``now_ms``), large texts as references inside turns. So whoever feeds the recorded
turns and tool outcomes again gets the same commands again, byte for byte.

The run survives between records as ``RunInfo`` + ``Progress``; ``Phase`` is what a reasoner is in while it holds the
run. The word *step* counts model turns that led to a record; the repair turn before them is not a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headrace.messages.agent import Limits
from headrace.messages.errors import HeadraceError
from headrace.messages.result import ResultError
from headrace.messages.run import CallRequest, Entry, Progress, RunInfo, ToolOutcome, Turn
from headrace.reasoning.entries import outcome_entry, turn_entry
from headrace.reasoning.limits import CANCELLED, limit_reached, timed_out, too_many


class Phase(StrEnum):
    ADMITTED = "admitted"  # nothing has happened yet
    AWAITING_MODEL = "awaiting_model"
    REPAIRING = "repairing"  # the model has one more turn to put its answer right
    AWAITING_TOOLS = "awaiting_tools"
    DONE = "done"


# --- events: what happened ----------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, gc=False):
    """``now_ms``: epoch milliseconds at which the event was taken in."""

    now_ms: int


class JobAdmitted(Event, frozen=True, gc=False):
    """The run may begin with ``entry`` as its first message."""

    entry: Entry


class RunRefused(Event, frozen=True, gc=False):
    """The run can't begin (unknown agent, bad input) or can't go on (its definition changed)."""

    error: ResultError


class CallsRequested(Event, frozen=True, gc=False):
    """A model turn that asks for tool calls; ``turn`` is packed: its large parts are references."""

    turn: Turn


class AnswerGiven(Event, frozen=True, gc=False):
    """A model turn that is the answer. ``output`` is free text or the JSON value that satisfies the output schema."""

    turn: Turn
    output: Any


class AnswerBroken(Event, frozen=True, gc=False):
    """A model turn that should be the answer and is not; ``repair`` says to the model what is wrong, ``error`` to the
    caller.
    """

    turn: Turn
    repair: str
    error: ResultError


class ModelFailed(Event, frozen=True, gc=False):
    """No turn: the provider gave an error for good."""

    error: ResultError


class Expired(Event, frozen=True, gc=False):
    """The deadline passed while the model was at work."""


class CancelAsked(Event, frozen=True, gc=False):
    """Somebody wants the run to end, and the model has not answered yet."""


class ToolsReturned(Event, frozen=True, gc=False):
    """The outcomes of all calls of the last turn."""

    outcomes: tuple[ToolOutcome, ...]


# --- commands: what to do -----------------------------------------------------------------------------------------------


class Remember(msgspec.Struct, frozen=True, gc=False):
    """Append to the conversation."""

    entries: tuple[Entry, ...]


class AskModel(msgspec.Struct, frozen=True, gc=False):
    """Call the model with the whole conversation; comes back as one of the model events."""


class EmitCalls(msgspec.Struct, frozen=True, gc=False):
    """End this stretch with a ``tool.calls`` record."""

    requests: tuple[CallRequest, ...]


class EmitResult(msgspec.Struct, frozen=True, gc=False):
    """End the run with an ``agent.results`` record: completed with ``output``, or failed with ``error``."""

    completed_ms: int
    output: Any = None
    error: ResultError | None = None


Command = Remember | AskModel | EmitCalls | EmitResult


class State(msgspec.Struct, frozen=True, gc=False):
    """A run in a reasoner's hands. ``turns`` are the model calls since its last record."""

    phase: Phase
    run: RunInfo
    limits: Limits
    progress: Progress = Progress()
    turns: tuple[Turn, ...] = ()


class IllegalEvent(HeadraceError):
    """An event that can't happen in this phase: a defect of the shell, never of a record."""


Step = tuple[State, tuple[Command, ...]]


def advance(state: State, event: Event) -> Step:
    """Apply one event. Raises ``IllegalEvent`` where the table has no row."""
    return TABLE[state.phase, type(event)](state, event)


# --- verbs: one per event -----------------------------------------------------------------------------------------------


def _begin(state: State, event: JobAdmitted) -> Step:
    return _ask(state, event.now_ms, Remember((event.entry,)))


def _resume(state: State, event: ToolsReturned) -> Step:
    return _ask(state, event.now_ms, Remember(tuple(map(outcome_entry, event.outcomes))))


def _request_calls(state: State, event: CallsRequested) -> Step:
    """Calls whose outcomes no model turn may read any more are not made: they could have effects."""
    state = _spent(state, event.turn, steps=1)
    error = limit_reached(state.run, state.limits, state.progress, event.now_ms) or too_many(event.turn.tool_calls)
    if error:
        return _fail(state, event.now_ms, error)
    state = replace(state, phase=Phase.AWAITING_TOOLS)
    return state, (Remember((turn_entry(event.turn),)), EmitCalls(event.turn.tool_calls))


def _complete(state: State, event: AnswerGiven) -> Step:
    """A valid answer counts even if it was the turn that crossed a limit: it is paid for, and nothing more will be
    spent.
    """
    state = _spent(state, event.turn, steps=1)
    return replace(state, phase=Phase.DONE), (EmitResult(event.now_ms, output=event.output),)


def _repair(state: State, event: AnswerBroken) -> Step:
    state = _spent(state, event.turn, repairs=1)
    spoke = event.turn.text_ref is not None or bool((event.turn.text or "").strip())  # providers refuse a blank message
    said = (turn_entry(event.turn),) if spoke else ()
    return _ask(state, event.now_ms, Remember((*said, Entry(role="user", content=event.repair))))


def _give_up(state: State, event: AnswerBroken) -> Step:
    return _fail(_spent(state, event.turn, steps=1), event.now_ms, event.error)


def _fail_with(state: State, event: RunRefused | ModelFailed) -> Step:
    return _fail(state, event.now_ms, event.error)


def _expire(state: State, event: Expired) -> Step:
    return _fail(state, event.now_ms, timed_out(state.run))


def _cancel(state: State, event: CancelAsked) -> Step:
    return _fail(state, event.now_ms, CANCELLED)


def _ignore(state: State, event: Event) -> Step:
    return state, ()


def _illegal(state: State, event: Event) -> Step:
    raise IllegalEvent(f"{type(event).__name__} in phase {state.phase}")


# --- pieces -------------------------------------------------------------------------------------------------------------


def _ask(state: State, now_ms: int, first: Command) -> Step:
    """Ask the model if every limit allows it, else end the run."""
    if error := limit_reached(state.run, state.limits, state.progress, now_ms):
        failed, commands = _fail(state, now_ms, error)
        return failed, (first, *commands)
    phase = Phase.REPAIRING if state.progress.repairs else Phase.AWAITING_MODEL
    return replace(state, phase=phase), (first, AskModel())


def _fail(state: State, now_ms: int, error: ResultError) -> Step:
    return replace(state, phase=Phase.DONE), (EmitResult(now_ms, error=error),)


def _spent(state: State, turn: Turn, *, steps: int = 0, repairs: int = 0) -> State:
    """After ``turn``, which is paid for, and counts as this many steps and repairs."""
    progress = state.progress
    progress = progress.replace(
        step=progress.step + steps,
        repairs=progress.repairs + repairs,
        model_ms=progress.model_ms + turn.latency_ms,
        usage=progress.usage.plus(turn.usage),
    )
    return replace(state, progress=progress, turns=(*state.turns, turn))


# --- the table ----------------------------------------------------------------------------------------------------------

Verb = Callable[[State, Any], Step]

EVENTS: Final[tuple[type[Event], ...]] = (
    JobAdmitted,
    RunRefused,
    CallsRequested,
    AnswerGiven,
    AnswerBroken,
    ModelFailed,
    Expired,
    CancelAsked,
    ToolsReturned,
)

_ROWS: Final[Mapping[Phase, Mapping[type[Event], Verb]]] = {
    Phase.ADMITTED: {JobAdmitted: _begin, RunRefused: _fail_with},
    Phase.AWAITING_MODEL: {
        CallsRequested: _request_calls,
        AnswerGiven: _complete,
        AnswerBroken: _repair,
        ModelFailed: _fail_with,
        Expired: _expire,
        CancelAsked: _cancel,
    },
    Phase.REPAIRING: {
        CallsRequested: _request_calls,
        AnswerGiven: _complete,
        AnswerBroken: _give_up,
        ModelFailed: _fail_with,
        Expired: _expire,
        CancelAsked: _cancel,
    },
    Phase.AWAITING_TOOLS: {ToolsReturned: _resume, RunRefused: _fail_with},
    Phase.DONE: dict.fromkeys(EVENTS, _ignore),
}

TABLE: Final[Mapping[tuple[Phase, type[Event]], Verb]] = {
    (phase, event): _ROWS[phase].get(event, _illegal) for phase in Phase for event in EVENTS
}
