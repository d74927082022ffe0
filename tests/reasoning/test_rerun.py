"""A run is a function of its records: fed back its recorded turns and outcomes, it writes the same bytes and calls nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.agent import Limits
from headrace.messages.job import Job
from headrace.messages.result import AgentResult
from headrace.messages.run import CallRequest, ToolCalls, ToolOutcome, ToolResults, Turn
from headrace.models import ModelError, ModelReply, ModelRequest
from tests.reasoning.bench import (
    T0,
    VERDICT_SCHEMA,
    Bench,
    ScriptedModel,
    answered,
    context,
    definition,
    job,
    model_down,
    text_reply,
)

Output = ToolCalls | AgentResult
AGENT = definition(output_schema=VERDICT_SCHEMA, limits=Limits(max_steps=4, max_tokens=900, timeout_s=60))
ANSWERS = [
    '{"risk": "low"}',
    '{"risk": "medium"}',
    "no JSON",
    "",
    "lone \ud800 surrogate",
    "x" * 3_000,
    '{"risk": "high", "note": "' + "n" * 2_000 + '"}',
]


@dataclass
class Recorded:
    """Answers each stretch from the turns of the record that it led to, and tells the time that was recorded."""

    blobs: MemoryBlobs
    outputs: list[Output]
    stretch: int = 0
    taken: int = 0
    at_ms: int = T0
    bench: Any = field(default=None)

    def resolve(self, spec: str) -> str:
        return spec

    @property
    def output(self) -> Output:
        return self.outputs[self.stretch]

    def now(self) -> int:
        """The record's own time until the last recorded turn is taken; then when the run ended."""
        over = self.taken == len(self.output.turns)
        return self.output.completed_ms if over and isinstance(self.output, AgentResult) else self.at_ms

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        if self.taken < len(self.output.turns):
            turn = await self.bench.transcripts.unpack_turn(self.output.turns[self.taken])
            self.taken += 1
            return reply_of(turn)
        assert isinstance(self.output, AgentResult)
        assert self.output.error is not None
        kind, _, text = self.output.error.message.partition(": ")
        raise ModelError(text, kind=kind, retryable=self.output.error.retryable)


def reply_of(turn: Turn) -> ModelReply:
    values = {name: getattr(turn, name) for name in Turn.__struct_fields__ if name != "text_ref"}
    return ModelReply(**values)


async def live(model: ScriptedModel, a_job: Job, contents: list[Any], waits_ms: list[int]) -> tuple[list[Any], Any]:
    """Run it; the inputs (record, timestamp) and outputs in order, and the bench."""
    bench = Bench(model, AGENT)
    inputs: list[tuple[Any, int]] = [(a_job, T0)]
    outputs: list[Output] = []
    while True:
        message, at_ms = inputs[-1]
        bench.clock_ms = at_ms + waits_ms[len(outputs) % len(waits_ms)]
        where = context("in", len(inputs), at_ms)
        (send,) = await bench.handle(message, where)
        outputs.append(send.message)  # type: ignore[arg-type]
        if isinstance(send.message, AgentResult):
            return [inputs, outputs], bench
        assert isinstance(send.message, ToolCalls)
        inputs.append((results(send.message, contents), bench.clock_ms))


def results(calls: ToolCalls, contents: list[Any]) -> ToolResults:
    given = answered(calls, *contents)
    if calls.progress.step % 2:
        return given
    bad = given.results[0].replace(status="error", content=None, error=None)
    outcomes: tuple[ToolOutcome, ...] = (bad, *given.results[1:])
    return given.replace(results=outcomes)


async def rerun(inputs: list[tuple[Any, int]], outputs: list[Output], blobs: MemoryBlobs) -> list[Output]:
    model = Recorded(blobs, outputs)
    bench = model.bench = Bench(model, AGENT, blobs=blobs)
    bench.now = model.now  # type: ignore[method-assign]
    object.__setattr__(bench.tools, "clock", model.now)
    again: list[Output] = []
    for number, (message, at_ms) in enumerate(inputs):
        model.stretch, model.taken, model.at_ms = number, 0, at_ms
        (send,) = await bench.handle(message, context("in", number + 1, at_ms))
        again.append(send.message)  # type: ignore[arg-type]
    return again


arguments = st.dictionaries(st.sampled_from("abc"), st.text(max_size=700) | st.integers(-9, 9), max_size=3)
requests = st.lists(
    st.builds(
        CallRequest,
        id=st.sampled_from(["", "x", "call_1_1"]),
        name=st.sampled_from(["execute_pipeline", "zap"]),
        arguments=arguments,
    ),
    max_size=3,
)
replies = st.builds(
    lambda text, calls, latency: text_reply(text, tool_calls=tuple(calls), latency_ms=latency),
    st.sampled_from(ANSWERS) | st.none(),
    requests,
    st.integers(0, 5_000),
)
scripts = st.lists(replies | st.builds(model_down), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    script=scripts,
    contents=st.lists(st.text(max_size=2_500) | arguments, min_size=1, max_size=3),
    waits=st.lists(st.integers(0, 40_000), min_size=1, max_size=4),
    prompt=st.text(st.characters(codec="utf-8"), min_size=1, max_size=3_000),
)
async def test_a_rerun_over_the_records_of_any_run_is_byte_identical(
    script: list[Any], contents: list[Any], waits: list[int], prompt: str
) -> None:
    model = ScriptedModel(*script, *[text_reply('{"risk": "low"}') for _ in range(8)])
    (inputs, outputs), bench = await live(model, job(prompt=prompt), contents, waits)
    again = await rerun(inputs, outputs, bench.blobs)
    assert [msgspec.json.encode(one) for one in again] == [msgspec.json.encode(one) for one in outputs]


async def test_a_changed_outcome_shows_as_the_first_record_that_differs() -> None:
    model = ScriptedModel(
        text_reply(None, tool_calls=(CallRequest(id="", name="zap", arguments={}),)), text_reply('{"risk": "low"}')
    )
    (inputs, outputs), bench = await live(model, job(), ["fine"], [0])
    tampered = Recorded(bench.blobs, outputs)
    assert isinstance(tampered.output, ToolCalls)
    other_turn = outputs[0].turns[0].replace(tool_calls=(), text='{"risk": "high"}')
    changed: list[Any] = [outputs[0].replace(turns=(other_turn,)), outputs[1]]
    (first,) = await rerun(inputs[:1], changed, bench.blobs)
    assert isinstance(first, AgentResult)
    assert first.output == {"risk": "high"}
