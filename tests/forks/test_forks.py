"""Forks planned from the records of any run, and reasoned by the real processor: the same answers lead to the same outputs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.forks.edits import CantFork, Edits
from headrace.forks.plan import Asked, Planned, planned
from headrace.messages import ids
from headrace.messages.agent import Limits
from headrace.messages.job import CallAsked, Job, JobContext
from headrace.messages.result import AgentResult
from headrace.messages.run import Family, ToolCalls, Usage
from headrace.messages.wait import PendingCall, RunWait, arguments_hash
from headrace.models import ModelReply
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
    only_calls,
    only_result,
)
from tests.reasoning.test_cancel import cancel
from tests.reasoning.test_rerun import arguments, scripts
from tests.replay.lives import LOW, Life, live, rerun, with_tools

AGENT = definition(output_schema=VERDICT_SCHEMA, limits=Limits(max_steps=4))


def plan(life: Life, asked: Asked) -> Planned:
    messages = [message for message, _ in life.records]
    first = messages[0]
    assert isinstance(first, Job)
    return planned(first, AGENT.version, messages, asked)


def steps(life: Life) -> list[int]:
    return [0, *(message.progress.step for message, _ in life.records if isinstance(message, ToolCalls))]


def asked_until(life: Life, step: int) -> int:
    """How often the model was asked up to that step."""
    calls = [message for message, _ in life.records if isinstance(message, ToolCalls)]
    return sum(len(message.turns) for message in calls if message.progress.step <= step)


def ended(life: Life) -> AgentResult:
    result = life.records[-1][0]
    assert isinstance(result, AgentResult)
    return result


@settings(max_examples=40)
@given(
    script=scripts,
    contents=st.lists(st.text(max_size=2_500) | arguments, min_size=1, max_size=3),
    prompt=st.text(st.characters(codec="utf-8"), min_size=1, max_size=3_000),
    draw=st.data(),
)
async def test_an_unedited_fork_of_any_run_at_any_step_ends_alike(
    script: list[Any], contents: list[Any], prompt: str, draw: Any
) -> None:
    whole = [*script, *[LOW] * 8]
    model = ScriptedModel(*whole)
    bench = Bench(model, AGENT)
    life = await live(bench, job(prompt=prompt), contents)
    step = draw.draw(st.sampled_from(steps(life)))

    before = asked_until(life, step)
    fork_model = ScriptedModel(*whole[before:])
    again = Bench(fork_model, AGENT, blobs=bench.blobs)
    made = plan(life, Asked(step)).job
    fork = await live(again, made, contents, at_ms=T0 + 100_000)

    was, now = ended(life), ended(fork)
    assert (now.status, now.output, now.error, now.steps) == (was.status, was.output, was.error, was.steps)
    assert now.metadata.tool_calls == was.metadata.tool_calls
    own = 0 if step else 1  # the first message names the run itself, as the session of its tools
    assert [one.entries[own:] for one in fork_model.requests] == [one.entries[own:] for one in model.requests[before:]]
    assert now.usage.model_calls == was.usage.model_calls - before, "what was paid for is counted again"
    assert now.forked_from is not None
    assert (now.forked_from.run_id, now.forked_from.step) == ("job-1", step)
    sealed = await asyncio.to_thread(rerun, fork.chain, bench.blobs, AGENT)
    assert (sealed.verdict, sealed.divergence) == ("identical", None)


async def two_steps(**changes: Any) -> tuple[Life, Bench]:
    bench = Bench(with_tools({"a": 1}, {"a": 2}), AGENT)
    return await live(bench, job(**changes), ["fine"]), bench


async def begun(bench: Bench, made: Job, *replies: ModelReply) -> tuple[list[Any], ScriptedModel]:
    """What the fork's job leads to, with a model of its own."""
    model = ScriptedModel(*replies)
    return await Bench(model, AGENT, blobs=bench.blobs).start(made), model


async def test_an_edited_outcome_is_what_the_model_reads() -> None:
    life, bench = await two_steps()
    asked = Asked(2, Edits(tool_results={"call_2_1": {"rows": ["edited"]}}), by="key-7")
    made = plan(life, asked)
    result = only_result((await begun(bench, made.job, LOW))[0])
    _, model = await begun(bench, made.job.replace(job_id="again"), LOW)
    assert '"edited"' in (model.requests[0].entries[-1].content or "")
    assert result.forked_from is not None
    assert (result.forked_from.edited, result.forked_from.by) == (("tool_results/call_2_1",), "key-7")
    assert result.usage == Usage(input_tokens=100, output_tokens=10, cost_usd=0.001, model_calls=1)
    assert made.facts()["taken"] == {"model_turns": 2, "tool_results": ["call_2_1"]}
    assert made.facts()["anew"] == {"tool_calls": [], "from": "model"}


async def test_the_same_request_is_the_same_run_and_another_is_another() -> None:
    life, bench = await two_steps()
    asked = [
        Asked(0),
        Asked(1),
        Asked(2),
        Asked(1, replay_id="again"),
        Asked(1, Edits(tool_results={"call_1_1": 0})),
        Asked(1, Edits(tool_results={"call_1_1": None})),
        Asked(0, Edits(input={})),
        Asked(0, Edits(input=0)),
        Asked(0, Edits(prompt="0")),
        Asked(0, Edits(version="2.0.0")),
    ]
    named = [plan(life, one).job.job_id for one in asked]
    assert named == [plan(life, one).job.job_id for one in asked]
    assert len(set(named)) == len(asked)
    made = plan(life, Asked(1)).job
    model = ScriptedModel(calls_reply({}))
    again = Bench(model, AGENT, blobs=bench.blobs)
    assert len(await again.start(made)) == 1
    assert await again.start(made, context(offset=1)) == [], "a second record of the same fork begins nothing"


def test_the_id_of_a_fork_stays_what_it_is() -> None:
    """Whoever asks for a stored run's fork once more has to meet the same run, in every release."""
    assert ids.forked_job_id("default", "run-1", 2, "ab", "again") == "52df42ad-1155-5e44-a653-9448945afa5e"


async def test_a_fork_answers_to_nobody_but_who_asked_for_it() -> None:
    family = Family(
        parent_run_id="boss", root_run_id="boss", depth=1, runs_left=3, max_tokens=100_000, max_cost_usd=1.0
    )
    session = JobContext(session_id="s-1")
    life, bench = await two_steps(family=family, run_id="workflow", node_id="n", reply_to="answers", context=session)
    for step in (0, 1):
        made = plan(life, Asked(step)).job
        assert (made.family, made.run_id, made.node_id, made.reply_to) == (None, None, None, None)
        assert made.context.session_id is None
        run = only_calls((await begun(bench, made, calls_reply({})))[0]).run
        assert (run.family, run.session_id, run.user_id) == (None, None, "ada")


async def test_at_its_job_a_fork_may_ask_something_else() -> None:
    life, bench = await two_steps()
    made = plan(life, Asked(0, Edits(prompt="Another question.")))
    _, model = await begun(bench, made.job, LOW)
    assert "Another question." in (model.requests[0].entries[0].content or "")
    assert made.facts()["anew"]["from"] == "job"


async def parked() -> tuple[Life, Bench, RunWait]:
    """A turn of two calls: one is done, the other waits for somebody."""
    bench = Bench(ScriptedModel(calls_reply({"a": 1}, {"a": 2})), AGENT)
    calls = only_calls(await bench.start())
    done = answered(calls, "fine").results[:1]
    pending = PendingCall(call_id="call_1_2", kind="approval", deadline_ms=T0 + 9, arguments_hash=arguments_hash({}))
    wait = RunWait(
        run=calls.run,
        progress=calls.progress,
        transcript=calls.transcript,
        calls=calls.calls,
        pending=(pending,),
        results=done,
    )
    return Life("job-1", [(job(), T0), (calls, T0), (wait, T0)]), bench, wait


async def test_a_run_that_waits_is_forked_at_its_wait() -> None:
    """The open call is made for the fork, with a key of its own; what is answered stays so."""
    life, bench, wait = await parked()
    made = plan(life, Asked(1))
    assert made.facts()["anew"] == {"tool_calls": ["call_1_2"], "from": "tool_calls"}
    calls = only_calls((await begun(bench, made.job))[0])
    assert calls.run.run_id == made.job.job_id
    assert (calls.results, calls.round, calls.approvals, calls.turns) == (wait.results, 0, (), ())
    keys = {ids.call_key("default", made.job.job_id, 1, call.call_id) for call in wait.calls}
    assert {call.idempotency_key for call in calls.calls} == keys
    assert keys.isdisjoint(call.idempotency_key for call in wait.calls)

    again = Bench(ScriptedModel(LOW), AGENT, blobs=bench.blobs)
    fork = await live(again, made.job, ["fine"])
    assert ended(fork).status == "completed"
    sealed = await asyncio.to_thread(rerun, fork.chain, bench.blobs, AGENT)
    assert (sealed.verdict, sealed.divergence) == ("identical", None)


async def test_an_answer_for_what_is_open_lets_the_fork_go_on() -> None:
    life, bench, _ = await parked()
    made = plan(life, Asked(1, Edits(tool_results={"call_1_2": "said by hand"})))
    messages, model = await begun(bench, made.job, LOW)
    assert only_result(messages).status == "completed"
    assert [entry.content for entry in model.requests[0].entries[-2:]] != []
    assert "said by hand" in (model.requests[0].entries[-1].content or "")
    assert made.taken is not None
    assert made.taken.progress.tool_calls == 2


async def test_a_fork_that_is_cancelled_makes_no_call() -> None:
    life, bench, _ = await parked()
    made = plan(life, Asked(1)).job
    again = Bench(ScriptedModel(), AGENT, blobs=bench.blobs)
    cancel(again, ("default", made.job_id))
    result = only_result(await again.start(made))
    assert (result.status, result.error and result.error.type) == ("failed", "cancelled")


async def test_a_fork_can_be_forked_where_it_begins_and_after() -> None:
    life, bench = await two_steps()
    made = plan(life, Asked(1)).job
    fork = await live(Bench(ScriptedModel(calls_reply({"b": 1}), LOW), AGENT, blobs=bench.blobs), made, ["x"])
    assert plan(fork, Asked()).origin.step == 1
    assert plan(fork, Asked(2)).taken is not None
    second = plan(fork, Asked(1, Edits(tool_results={"call_1_1": "other"})))
    _, model = await begun(bench, second.job, LOW)
    assert "other" in (model.requests[0].entries[-1].content or "")
    with pytest.raises(CantFork, match="begins at step 1"):
        plan(fork, Asked(0))


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (Asked(3), "/at"),
        (Asked(1, Edits(input={"a": 1})), "/input"),
        (Asked(1, Edits(prompt="x")), "/prompt"),
        (Asked(0, Edits(tool_results={"call_1_1": 1})), "/tool_results"),
        (Asked(1, Edits(tool_results={"call_9_9": 1})), "/tool_results"),
    ],
)
async def test_what_can_not_be_is_refused_by_its_place(asked: Asked, where: str) -> None:
    life, _ = await two_steps()
    with pytest.raises(CantFork) as refused:
        plan(life, asked)
    assert refused.value.where == where


async def test_one_call_without_a_model_is_forked_at_its_job() -> None:
    bench = Bench(ScriptedModel(), AGENT)
    call = CallAsked(tool="execute_pipeline", arguments={"a": 1})
    first = only_calls(await bench.start(job(call=call)))
    life = Life("job-1", [(job(call=call), T0), (first, T0), (answered(first, 1), T0)])
    with pytest.raises(CantFork):
        plan(life, Asked(1))
    [again] = await Bench(ScriptedModel(), AGENT).start(plan(life, Asked(0)).job)
    assert (again.run.direct, again.calls[0].arguments) == (True, {"a": 1})
