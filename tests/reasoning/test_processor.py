"""Runs through the real model clients, over HTTP against the simulator: the main paths, the repair, the limits, the failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
import pytest
from structlog.testing import capture_logs

from headrace.messages import ids
from headrace.messages.agent import Limits
from headrace.messages.errors import DependencyUnavailable, RejectedMessage, TransientError
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls
from headrace.models.resolve import Models
from headrace.observe.metrics import AGENT_REQUESTS
from headrace.reasoning.processor import ReasoningProcessor
from headrace.simulator.server import Simulator
from tests.reasoning.bench import (
    T0,
    VERDICT_SCHEMA,
    Bench,
    ScriptedModel,
    answered,
    calls_reply,
    context,
    definition,
    job,
    model_down,
    only_calls,
    only_result,
    real_now_ms,
    text_reply,
)
from tests.support.simulator import script, settings_for

PIPELINE = {"session_id": "s", "pipeline": [{"step": "top_k", "k": 3}]}
SPECS = ["openai:sim", "anthropic:sim"]


@pytest.fixture
async def models(simulator: Simulator) -> AsyncIterator[Models]:
    made = Models(settings_for(simulator, model_attempts=2))
    yield made
    await made.close()


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "execute_pipeline", "arguments": {**PIPELINE, **arguments}}


@pytest.mark.parametrize("spec", SPECS)
async def test_a_run_with_parallel_tool_calls_from_job_to_result(
    spec: str, simulator: Simulator, models: Models
) -> None:
    simulator.play(
        script(
            {"match": {"turn": 0}, "reply": {"text": "Looking.", "tool_calls": [call(), call(input_ref="cas://x")]}},
            {"match": {"last_tool": "row-7"}, "reply": {"json": {"risk": "high", "note": "row-7"}}},
        )
    )
    bench = Bench(models, definition(model=spec, output_schema=VERDICT_SCHEMA))
    calls = only_calls(await bench.start())
    assert [one.call_id for one in calls.calls] == ["call_1_1", "call_1_2"], "one record, ids unique in the run"
    assert [one.tool_version for one in calls.calls] == ["1.1.0", "1.1.0"]
    assert calls.calls[0].idempotency_key == ids.call_key("default", "job-1", 1, "call_1_1")
    assert calls.calls[0].arguments == PIPELINE
    result = await bench.resume(answered(calls, {"id": "row-7"}, {"id": "row-8"}))
    assert (result.status, result.output, result.steps) == ("completed", {"risk": "high", "note": "row-7"}, 2)
    assert result.usage.model_calls == 2
    assert result.usage.input_tokens > 0
    last = orjson.loads(simulator.requests[-1].raw)
    assert orjson.dumps(last).count(b"call_1_2") == 2, "both calls and both answers are in the conversation"


@pytest.mark.parametrize("spec", SPECS)
async def test_a_broken_answer_gets_one_repair_turn(spec: str, simulator: Simulator, models: Models) -> None:
    simulator.play(
        script(
            {"match": {"turn": 0}, "reply": {"text": '{"risk": "medium"}'}},
            {"match": {"last_user": "/risk: "}, "reply": {"text": '```json\n{"risk": "low"}\n```'}},
        )
    )
    bench = Bench(models, definition(model=spec, output_schema=VERDICT_SCHEMA))
    result = only_result(await bench.start())
    assert (result.status, result.output) == ("completed", {"risk": "low"})
    assert [turn.text for turn in result.turns] == ['{"risk": "medium"}', '```json\n{"risk": "low"}\n```']
    assert simulator.requests.total == 2


async def test_an_answer_that_stays_broken_fails_the_run(simulator: Simulator, models: Models) -> None:
    simulator.play(script({"reply": {"text": '{"risk": "medium"}'}}))
    result = only_result(await Bench(models, definition(output_schema=VERDICT_SCHEMA)).start())
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "output_schema")
    assert "/risk" in result.error.message
    assert simulator.requests.total == 2, "exactly one repair"
    assert result.usage.model_calls == 2, "and both turns are accounted for"


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (401, False), (529, True)])
async def test_a_model_error_fails_the_run_and_says_whether_to_try_again(
    status: int, retryable: bool, simulator: Simulator, models: Models
) -> None:
    reply = {"status": status, "message": "bad key sk-verysecretkey1", "headers": {"retry-after-ms": "1"}}
    simulator.play(script({"reply": reply}))
    result = only_result(await Bench(models).start())
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == ("model_error", retryable)
    assert "verysecretkey1" not in msgspec.json.encode(result).decode()


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"max_steps": 1}, "limit_steps"), ({"max_tokens": 5}, "limit_tokens"), ({"max_steps": 2}, "limit_steps")],
)
async def test_a_limit_ends_a_run_that_never_answers(
    limits: dict[str, Any], error: str, simulator: Simulator, models: Models
) -> None:
    simulator.play(script({"reply": {"tool_calls": [call()]}}))
    bench = Bench(models, definition(limits=Limits(**limits)))
    (message,) = await bench.start()
    while isinstance(message, ToolCalls):
        message = await bench.resume(answered(message, "more"))
    assert isinstance(message, AgentResult)
    assert message.error is not None
    assert message.error.type == error
    assert simulator.requests.total == message.usage.model_calls <= limits.get("max_steps", 1)


async def test_a_model_that_hangs_past_the_deadline_is_a_timeout(simulator: Simulator, models: Models) -> None:
    simulator.play(script({"reply": {"fault": "hang"}}))
    bench = Bench(models, definition(limits=Limits(timeout_s=0.4)))
    bench.processor = ReasoningProcessor(
        bench.tools.__class__(
            models=models,
            blobs=bench.tools.blobs,
            transcripts=bench.tools.transcripts,
            specs=bench.tools.specs,
            settings=bench.tools.settings,
            clock=real_now_ms,
        ),
        bench.processor._agents,
        bench.admission,
    )
    result = only_result(await bench.start(at=context(timestamp_ms=real_now_ms())))
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == ("timeout", True)


async def test_a_job_whose_deadline_has_passed_is_never_put_to_the_model() -> None:
    bench = Bench(ScriptedModel())
    bench.clock_ms = T0 + 300_000
    result = only_result(await bench.start())
    assert result.error is not None
    assert result.error.type == "timeout"


async def test_the_prefix_of_a_request_is_the_same_in_every_turn_and_run(simulator: Simulator, models: Models) -> None:
    simulator.play(script({"match": {"turn": 0}, "reply": {"tool_calls": [call()]}}))
    bench = Bench(models)
    await bench.resume(answered(only_calls(await bench.start()), 1))
    await bench.start(job(job_id="job-2", prompt="Something else"), context(offset=1))
    bodies = [orjson.loads(logged.raw) for logged in simulator.requests]
    assert len({orjson.dumps([body["messages"][0], body["tools"]]) for body in bodies}) == 1
    assert bodies[0]["messages"] == bodies[1]["messages"][: len(bodies[0]["messages"])], "a turn only appends"


async def test_large_texts_arguments_and_results_travel_as_references_and_reach_the_model_whole() -> None:
    big = "y" * 5_000
    model = ScriptedModel(calls_reply({"q": big}, text=big), text_reply("done"))
    bench = Bench(model)
    calls = only_calls(await bench.start(job(prompt="p" * 5_000)))
    assert big[:500] not in msgspec.json.encode(calls).decode()
    assert calls.calls[0].arguments_ref == calls.turns[0].tool_calls[0].arguments_ref
    assert orjson.loads(await bench.blobs.get(calls.calls[0].arguments_ref or "")) == {"q": big}
    content_ref = await bench.blobs.put(orjson.dumps(["r" * 9_000]))
    outcome = answered(calls, None).results[0].replace(content_ref=content_ref, preview="r")
    assert (await bench.resume(answered(calls, None, results=(outcome,)))).status == "completed"
    user, assistant, tool = model.requests[-1].entries
    assert user.content is not None
    assert "p" * 5_000 in user.content
    assert (assistant.content, assistant.tool_calls[0].arguments) == (big, {"q": big})
    assert tool.content == f"<tool_result>\n{orjson.dumps(['r' * 9_000]).decode()}\n</tool_result>"


async def test_a_tool_that_is_not_granted_is_left_to_the_tools_service_to_refuse() -> None:
    reply = calls_reply({})
    foreign = reply.tool_calls[0].replace(name="delete_everything")
    bench = Bench(ScriptedModel(text_reply(None, tool_calls=(foreign,))))
    calls = only_calls(await bench.start())
    assert [(one.tool, one.tool_version, one.effect) for one in calls.calls] == [("delete_everything", "0.0.0", "none")]


async def test_a_reply_is_paid_for_once_even_if_the_blob_store_fails_after_it() -> None:
    class Failing:
        """Refuses the next puts."""

        def __init__(self, inner: Any) -> None:
            self.inner, self.failures = inner, 2

        async def put(self, data: bytes) -> str:
            if self.failures:
                self.failures -= 1
                raise DependencyUnavailable("blobs are away")
            return str(await self.inner.put(data))

        async def get(self, ref: str) -> bytes:
            return bytes(await self.inner.get(ref))

    model = ScriptedModel(text_reply("x" * 5_000))
    bench = Bench(model, blobs=Failing(Bench(model).blobs))
    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await bench.start()
    assert only_result(await bench.start()).status == "completed"
    assert len(model.requests) == 1
    assert len(bench.processor._paid) == 0


async def test_a_definition_that_changed_under_a_run_ends_it() -> None:
    bench = Bench(ScriptedModel(calls_reply({})))
    results = answered(only_calls(await bench.start()), 1)
    other = Bench(ScriptedModel(), definition(system_prompt="Approve everything."), blobs=bench.blobs)
    result = await other.resume(results)
    assert (result.status, result.error.type) == ("failed", "definition_changed")


async def test_a_version_that_is_not_here_yet_is_waited_for() -> None:
    bench = Bench(ScriptedModel(calls_reply({})))
    results = answered(only_calls(await bench.start()), 1)
    with pytest.raises(TransientError, match=r"reviewer@1\.0\.0"):
        await Bench(ScriptedModel(), definition(name="other")).resume(results)


async def test_outcomes_that_do_not_answer_the_calls_are_rejected() -> None:
    bench = Bench(ScriptedModel(calls_reply({}, {})))
    results = answered(only_calls(await bench.start()), 1)
    with pytest.raises(RejectedMessage) as caught:
        await bench.resume(results.replace(results=results.results[:1]))
    assert caught.value.cause == "tool_results_mismatch"


@pytest.mark.parametrize(
    ("reply_to", "topics"),
    [
        (None, [None]),
        ("agent.replies.ada", [None, "agent.replies.ada"]),
        ("agent.jobs", [None]),
        ("agent.replies.a/../b", [None]),
    ],
)
async def test_a_reply_goes_only_where_replies_may_go(reply_to: str | None, topics: list[str | None]) -> None:
    bench = Bench(ScriptedModel(text_reply("ok")))
    sends = await bench.handle(job(reply_to=reply_to), context())
    assert [send.topic for send in sends] == topics
    assert all(send.message == sends[0].message for send in sends)


async def test_log_lines_and_metrics_of_a_run() -> None:
    done = AGENT_REQUESTS.labels("reviewer", "completed").value
    bench = Bench(ScriptedModel(text_reply("ok"), model_down()))
    with capture_logs() as logs:
        await bench.start()
        await bench.start(job(job_id="job-2"), context(offset=1))
    who = {"agent_type": "reviewer", "user_id": "ada"}
    lines = [(line["event"], line["run_id"], line["log_level"]) for line in logs if who.items() <= line.items()]
    assert lines == [
        ("agent_start", "job-1", "info"),
        ("agent_complete", "job-1", "info"),
        ("agent_start", "job-2", "info"),
        ("agent_error", "job-2", "warning"),
    ]
    assert AGENT_REQUESTS.labels("reviewer", "completed").value == done + 1


async def test_an_unknown_agents_name_never_becomes_a_label() -> None:
    failed = AGENT_REQUESTS.labels("unknown", "failed").value
    await Bench(ScriptedModel()).start(job(agent="made-up-name"))
    assert AGENT_REQUESTS.labels("unknown", "failed").value == failed + 1


async def test_the_offline_model_gets_the_event_as_facts_in_every_turn() -> None:
    model = ScriptedModel(calls_reply({}), text_reply("ok"))
    bench = Bench(model, definition(model="offline"))
    calls = only_calls(await bench.start(job(input={"pr": 7, "body": "b" * 5_000})))
    await bench.resume(answered(calls, 1))
    assert [request.facts["input"]["pr"] for request in model.requests] == [7, 7]
