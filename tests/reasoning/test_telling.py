"""Telling what a model writes: gathered, in order, anew after a retry, and never in the way of the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from headrace.messages.run import AgentRef, RunInfo
from headrace.messages.tokens import RunTokens
from headrace.models.resolve import Models
from headrace.reasoning.telling import Telling
from headrace.simulator.server import Simulator
from tests.reasoning.bench import VERDICT_SCHEMA, Bench, answered, definition, job, only_calls, only_result
from tests.support.simulator import script, settings_for

RUN = RunInfo(
    tenant="default",
    run_id="job-1",
    agent=AgentRef(name="a", version="1.0.0", definition_hash="d", prompt_hash="p"),
    model="openai:sim",
    started_ms=0,
    deadline_ms=1,
)


@pytest.fixture
async def models(simulator: Simulator) -> AsyncIterator[Models]:
    made = Models(settings_for(simulator, model_attempts=2))
    yield made
    await made.close()


def heard(told: list[RunTokens]) -> list[tuple[int, int, str]]:
    return [(one.step, one.at, one.text) for one in told]


async def test_pieces_are_gathered_for_a_moment() -> None:
    told: list[RunTokens] = []
    telling = Telling(told.append, RUN, 3, gather_s=0.01)
    telling(0, "One ")
    telling(4, "two ")
    assert told == []
    while not told:
        await asyncio.sleep(0.005)
    telling(8, "three")
    telling.close()
    telling.close()
    assert heard(told) == [(3, 0, "One two "), (3, 8, "three")]
    assert (told[0].tenant, told[0].run_id, told[0].agent) == ("default", "job-1", "a")
    assert len({one.message_id() for one in told}) == 2


async def test_a_turn_that_is_begun_anew_starts_at_0_again() -> None:
    told: list[RunTokens] = []
    telling = Telling(told.append, RUN, 1, gather_s=60)
    for position, text in ((0, "Lo"), (2, "ok"), (0, "Wait"), (4, "!")):
        telling(position, text)
    telling.close()
    assert heard(told) == [(1, 0, "Look"), (1, 0, "Wait!")]


async def test_a_lone_surrogate_becomes_a_question_mark_and_positions_stay() -> None:
    told: list[RunTokens] = []
    telling = Telling(told.append, RUN, 1, gather_s=60)
    telling(0, "a\ud800")
    telling.close()
    telling(2, "b")
    telling.close()
    assert heard(told) == [(1, 0, "a?"), (1, 2, "b")]
    assert msgspec.json.encode(told[0])


@pytest.mark.parametrize("spec", ["openai:sim", "anthropic:sim"])
async def test_a_run_that_asks_for_it_has_every_turn_told_and_the_same_records(
    spec: str, simulator: Simulator, models: Models
) -> None:
    call = {"name": "execute_pipeline", "arguments": {"session_id": "s", "pipeline": []}}
    simulator.play(
        script(
            {"match": {"turn": 0}, "reply": {"text": "Looking now.", "tool_calls": [call]}},
            {"match": {"turn": 1}, "reply": {"text": '{"risk": "medium"}'}},
            {"match": {"last_user": "/risk: "}, "reply": {"text": '{"risk": "low"}'}},
        )
    )
    told: list[RunTokens] = []
    outcomes: list[Any] = []
    for asked in (False, True):
        bench = Bench(models, definition(model=spec, output_schema=VERDICT_SCHEMA), tell=told.append)
        calls = only_calls(await bench.start(job(stream_tokens=asked)))
        result = await bench.resume(answered(calls, {"id": 1}))
        outcomes.append((result.status, result.output, [turn.text for turn in result.turns]))
        assert bool(told) == asked, "nobody pays for what nobody asked for"
    assert outcomes[0] == outcomes[1]
    assert outcomes[1] == ("completed", {"risk": "low"}, ['{"risk": "medium"}', '{"risk": "low"}'])
    assert heard(told) == [(1, 0, "Looking now."), (2, 0, '{"risk": "medium"}'), (2, 0, '{"risk": "low"}')]


async def test_a_model_that_fails_in_the_middle_ends_the_run_as_ever(simulator: Simulator, models: Models) -> None:
    simulator.play(
        script({"reply": {"text": "One two three four", "fault": "cut", "headers": {"retry-after-ms": "1"}}})
    )
    told: list[RunTokens] = []
    bench = Bench(models, tell=told.append)
    result = only_result(await bench.start(job(stream_tokens=True)))
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "model_error")
    assert [one.at for one in told] == [0, 0], "two attempts"
