"""The table of decisions, without any I/O: every state x event, the limits, and that the same events give the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from headrace.messages.agent import Limits
from headrace.messages.result import ResultError
from headrace.messages.run import AgentRef, CallRequest, Entry, Progress, RunInfo, ToolOutcome, Turn, Usage
from headrace.reasoning.machine import (
    EVENTS,
    TABLE,
    AnswerBroken,
    AnswerGiven,
    AskModel,
    CallsRequested,
    CancelAsked,
    EmitCalls,
    EmitResult,
    Event,
    Expired,
    IllegalEvent,
    JobAdmitted,
    ModelFailed,
    Phase,
    Remember,
    RunRefused,
    State,
    ToolsReturned,
    advance,
)

NOW, DEADLINE = 1_000, 10_000
RUN = RunInfo(
    tenant="t",
    run_id="r",
    agent=AgentRef(name="a", version="1.0.0", definition_hash="d", prompt_hash="p"),
    model="openai:x",
    started_ms=0,
    deadline_ms=DEADLINE,
)
ERROR = ResultError(type="model_error", message="m")
CALLS = (CallRequest(id="call_1_1", name="look", arguments={"q": 1}),)
OUTCOMES = (ToolOutcome(call_id="call_1_1", tool="look", tool_version="1", status="ok", content={"n": 1}),)


def turn(**changes: Any) -> Turn:
    usage = Usage(input_tokens=60, output_tokens=40, cost_usd=0.01, model_calls=1)
    return Turn(**{"text": "hm", "usage": usage, "model": "openai:x", "latency_ms": 5, **changes})


SAMPLES: dict[type[Event], Event] = {
    JobAdmitted: JobAdmitted(NOW, Entry(role="user", content="go")),
    RunRefused: RunRefused(NOW, ERROR),
    CallsRequested: CallsRequested(NOW, turn(tool_calls=CALLS)),
    AnswerGiven: AnswerGiven(NOW, turn(), {"risk": "low"}),
    AnswerBroken: AnswerBroken(NOW, turn(), "mend it", ResultError(type="output_schema", message="bad")),
    ModelFailed: ModelFailed(NOW, ERROR),
    Expired: Expired(NOW),
    CancelAsked: CancelAsked(NOW),
    ToolsReturned: ToolsReturned(NOW, OUTCOMES),
}

# What follows, per phase: (next phase, kinds of commands). Everything else is illegal; DONE takes anything and does nothing.
ASK, RESULT, CALL = [Remember, AskModel], [EmitResult], [Remember, EmitCalls]
EXPECTED: dict[tuple[Phase, type[Event]], tuple[Phase, list[type]]] = {
    (Phase.ADMITTED, JobAdmitted): (Phase.AWAITING_MODEL, ASK),
    (Phase.ADMITTED, RunRefused): (Phase.DONE, RESULT),
    (Phase.AWAITING_MODEL, CallsRequested): (Phase.AWAITING_TOOLS, CALL),
    (Phase.AWAITING_MODEL, AnswerGiven): (Phase.DONE, RESULT),
    (Phase.AWAITING_MODEL, AnswerBroken): (Phase.REPAIRING, ASK),
    (Phase.AWAITING_MODEL, ModelFailed): (Phase.DONE, RESULT),
    (Phase.AWAITING_MODEL, Expired): (Phase.DONE, RESULT),
    (Phase.AWAITING_MODEL, CancelAsked): (Phase.DONE, RESULT),
    (Phase.REPAIRING, CallsRequested): (Phase.AWAITING_TOOLS, CALL),
    (Phase.REPAIRING, AnswerGiven): (Phase.DONE, RESULT),
    (Phase.REPAIRING, AnswerBroken): (Phase.DONE, RESULT),
    (Phase.REPAIRING, ModelFailed): (Phase.DONE, RESULT),
    (Phase.REPAIRING, Expired): (Phase.DONE, RESULT),
    (Phase.REPAIRING, CancelAsked): (Phase.DONE, RESULT),
    (Phase.AWAITING_TOOLS, ToolsReturned): (Phase.AWAITING_MODEL, ASK),
    (Phase.AWAITING_TOOLS, RunRefused): (Phase.DONE, RESULT),
    **{(Phase.DONE, event): (Phase.DONE, []) for event in EVENTS},
}


def state(phase: Phase, progress: Progress | None = None, **limits: Any) -> State:
    return State(phase, RUN, Limits(**limits), progress or Progress())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("phase", list(Phase))
def test_every_state_and_event_has_a_defined_answer(phase: Phase, event: type[Event]) -> None:
    assert (phase, event) in TABLE
    if (phase, event) not in EXPECTED:
        with pytest.raises(IllegalEvent, match=f"{event.__name__} in phase {phase}"):
            advance(state(phase), SAMPLES[event])
        return
    after, commands = advance(state(phase), SAMPLES[event])
    assert (after.phase, [type(command) for command in commands]) == EXPECTED[phase, event]


def test_there_is_a_sample_of_every_event() -> None:
    assert {e.__name__ for e in SAMPLES} == {e.__name__ for e in EVENTS} == {e.__name__ for e in Event.__subclasses__()}


def limit_of(commands: tuple[Any, ...]) -> str:
    (end,) = [command for command in commands if isinstance(command, EmitResult)]
    assert end.error is not None
    return end.error.type


SPENT = Progress(step=2, usage=Usage(input_tokens=900, output_tokens=100, cost_usd=0.5, model_calls=2))


@pytest.mark.parametrize(
    ("limits", "now", "error"),
    [
        ({"max_steps": 2}, NOW, "limit_steps"),
        ({"max_tokens": 1_000}, NOW, "limit_tokens"),
        ({"max_cost_usd": 0.5}, NOW, "limit_cost"),
        ({}, DEADLINE, "timeout"),
    ],
)
def test_a_limit_that_is_reached_forbids_the_next_model_call(limits: dict[str, Any], now: int, error: str) -> None:
    after, commands = advance(state(Phase.AWAITING_TOOLS, SPENT, **limits), ToolsReturned(now, OUTCOMES))
    assert (after.phase, limit_of(commands)) == (Phase.DONE, error)
    assert not any(isinstance(command, AskModel) for command in commands)


@pytest.mark.parametrize(
    "limits", [{"max_steps": 3}, {"max_tokens": 1_001}, {"max_cost_usd": 0.51}], ids=lambda limits: next(iter(limits))
)
def test_one_below_a_limit_goes_on(limits: dict[str, Any]) -> None:
    _, commands = advance(state(Phase.AWAITING_TOOLS, SPENT, **limits), ToolsReturned(DEADLINE - 1, OUTCOMES))
    assert isinstance(commands[-1], AskModel)


@pytest.mark.parametrize(
    ("limits", "now", "error"),
    [
        ({"max_steps": 1}, NOW, "limit_steps"),
        ({"max_tokens": 100}, NOW, "limit_tokens"),
        ({"max_cost_usd": 0.01}, NOW, "limit_cost"),
        ({}, DEADLINE, "timeout"),
    ],
)
def test_calls_whose_outcomes_nobody_may_read_are_not_made(limits: dict[str, Any], now: int, error: str) -> None:
    after, commands = advance(state(Phase.AWAITING_MODEL, **limits), CallsRequested(now, turn(tool_calls=CALLS)))
    assert limit_of(commands) == error
    assert not any(isinstance(command, EmitCalls) for command in commands)
    assert after.progress.usage.total_tokens == 100, "the turn that crossed the limit is accounted for"


def test_a_valid_answer_counts_even_when_it_crosses_a_limit() -> None:
    _, (end,) = advance(state(Phase.AWAITING_MODEL, max_tokens=10), SAMPLES[AnswerGiven])
    assert isinstance(end, EmitResult)
    assert end.error is None


def test_there_is_one_repair_turn_in_a_run_even_across_tool_calls() -> None:
    repairing, _ = advance(state(Phase.AWAITING_MODEL), SAMPLES[AnswerBroken])
    waiting, _ = advance(repairing, SAMPLES[CallsRequested])
    resumed = State(Phase.AWAITING_TOOLS, RUN, waiting.limits, waiting.progress)  # all that a record carries
    again, _ = advance(resumed, SAMPLES[ToolsReturned])
    _, commands = advance(again, SAMPLES[AnswerBroken])
    assert limit_of(commands) == "output_schema"


def test_the_repair_turn_sees_its_answer_and_what_is_wrong_with_it() -> None:
    _, (remember, _) = advance(state(Phase.AWAITING_MODEL), SAMPLES[AnswerBroken])
    assert isinstance(remember, Remember)
    assert [(entry.role, entry.content) for entry in remember.entries] == [("assistant", "hm"), ("user", "mend it")]


def test_a_blank_answer_is_not_put_into_the_conversation() -> None:
    blank = replace(SAMPLES[AnswerBroken], turn=turn(text="  "))
    _, (remember, _) = advance(state(Phase.AWAITING_MODEL), blank)
    assert isinstance(remember, Remember)
    assert [entry.role for entry in remember.entries] == ["user"]


@given(st.lists(st.sampled_from([event for event in EVENTS if event is not JobAdmitted]), max_size=30))
def test_any_script_ends_the_same_way_twice_and_asks_a_bounded_number_of_times(script: list[type[Event]]) -> None:
    def play() -> tuple[State, list[Any]]:
        current, commands = advance(state(Phase.ADMITTED, max_steps=4), SAMPLES[JobAdmitted])
        done = list(commands)
        for event in script:
            try:
                current, commands = advance(current, SAMPLES[event])
            except IllegalEvent:
                continue
            done.extend(commands)
        return current, done

    first, commands = play()
    second, again = play()
    assert (first, commands) == (second, again)
    assert sum(isinstance(command, AskModel) for command in commands) <= 4 + 1
    assert sum(isinstance(command, EmitResult) for command in commands) <= 1
