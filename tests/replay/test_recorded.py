"""A re-run over the records of any run gives the same bytes; what was changed since is named with both sides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.budgets.spending import BudgetExhausted
from headrace.history.chain import BrokenChain, Chain, chain_of
from headrace.messages.agent import Limits
from headrace.messages.job import JobContext
from headrace.messages.result import ResultError
from headrace.messages.run import CallRequest, ToolCalls, ToolResults
from headrace.models import ModelError, ModelReply, ModelRequest
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.frameworks import Turn as FrameworkTurn
from headrace.reasoning.sessions import NoSessions
from headrace.replay.rerun import Divergence, Rerun
from headrace.toolspecs import SPECS, Spec
from tests.reasoning.bench import T0, VERDICT_SCHEMA, Bench, ScriptedModel, definition, job, model_down, text_reply
from tests.reasoning.test_cancel import cancel
from tests.reasoning.test_rerun import arguments, scripts
from tests.reasoning.test_sessions import Kept
from tests.replay.lives import AGENT, LOW, Life, filed, live, rerun, with_tools


@settings(max_examples=60)
@given(
    script=scripts,
    contents=st.lists(st.text(max_size=2_500) | arguments, min_size=1, max_size=3),
    wait_ms=st.integers(0, 25_000),
    prompt=st.text(st.characters(codec="utf-8"), min_size=1, max_size=3_000),
)
async def test_any_run_is_identical(script: list[Any], contents: list[Any], wait_ms: int, prompt: str) -> None:
    bench = Bench(ScriptedModel(*script, *[LOW] * 8), AGENT)
    life = await live(bench, job(prompt=prompt), contents, wait_ms=wait_ms)
    for ended_at in range(2, len(life.records) + 1, 2):  # also while it was still under way
        chain = Life(life.run_id, life.records[:ended_at]).chain
        again = await _sealed(chain, bench)
        assert (again.verdict, again.divergence) == ("identical", None)
        assert (again.records, again.ended) == (ended_at // 2, ended_at == len(life.records))


async def _sealed(chain: Chain, bench: Bench, *definitions: Any) -> Any:
    return await asyncio.to_thread(rerun, chain, bench.blobs, *definitions)


async def test_a_run_that_was_cancelled() -> None:
    bench = Bench(with_tools({"a": 1}), AGENT)
    cancel(bench)
    at_once = await live(bench, job())
    assert at_once.chain.result.error.type == "cancelled"  # type: ignore[union-attr]
    assert (await _sealed(at_once.chain, bench)).verdict == "identical"


def _not_configured(_spec: str) -> str:
    raise ModelError("no key", kind="not_configured", retryable=False)


@pytest.mark.parametrize(
    ("change", "resolve"),
    [
        ({"agent": "nobody"}, None),
        ({"agent_version": "9.9.9"}, None),
        ({"input": {"wrong": 1}, "prompt": None}, None),
        ({}, _not_configured),
    ],
)
async def test_a_run_that_was_refused(change: dict[str, Any], resolve: Any) -> None:
    """Though today the agent is known, and every model can be told."""
    picky = definition(input_schema={"type": "object", "required": ["right"]})
    bench = Bench(ScriptedModel(), picky, resolve=resolve)
    life = await live(bench, job(**change))
    known_today = [picky, definition(name="nobody"), definition(version="9.9.9"), picky]
    again = await _sealed(life.chain, bench, *known_today)
    assert (again.verdict, again.divergence) == ("identical", None)


class Gate:
    async def check(self, *_: Any) -> Any:
        return ResultError(type="over_budget", message="the month is spent")


async def test_what_a_gate_said_is_taken_from_the_records() -> None:
    bench = Bench(ScriptedModel(), AGENT, gates=[Gate()])
    life = await live(bench, job())
    assert (await _sealed(life.chain, bench)).verdict == "identical"


async def test_a_run_that_took_what_was_live_then() -> None:
    bench = Bench(with_tools({"a": 1}), AGENT)
    life = await live(bench, job(agent_version=None))
    newer = definition(version="2.0.0", system_prompt="Other.")
    assert (await _sealed(life.chain, bench, AGENT, newer)).verdict == "identical"


async def test_another_definition_is_named_with_both_sides() -> None:
    bench = Bench(with_tools({"a": 1}), AGENT)
    life = await live(bench, job())
    stricter = AGENT.replace(limits=Limits(max_steps=1))
    found = (await _sealed(life.chain, bench, stricter)).divergence
    assert found == Divergence(0, "tool.calls/0/1", "/", "tool.calls record", "agent.results record")

    reworded = AGENT.replace(system_prompt="Look again.")
    found = (await _sealed(life.chain, bench, reworded)).divergence
    assert (found.step, found.where) == (0, "/run/agent/definition_hash")
    assert (found.recorded, found.now) == (AGENT.definition_hash, reworded.definition_hash)


async def test_another_schema_shows_where_it_first_matters() -> None:
    """Same answers, but one of them would not have been valid."""
    bench = Bench(with_tools({"a": 1}), AGENT)
    life = await live(bench, job())
    only_high = {**VERDICT_SCHEMA, "properties": {"risk": {"enum": ["high"]}}}
    renamed = AGENT.replace(output_schema=only_high)
    calls, results = life.records[1][0], life.records[2][0]
    agent = renamed.ref()
    records = [
        (
            message.replace(run=message.run.replace(agent=agent))
            if isinstance(message, ToolCalls | ToolResults)
            else message,
            at,
        )
        for message, at in life.records
    ]
    assert records[1][0] != calls
    assert records[2][0] != results
    found = (await _sealed(Life(life.run_id, records).chain, bench, renamed)).divergence
    assert found.step == 1
    assert "further turn of the model is asked for; 1 led to" in found.now


async def test_a_record_that_was_touched_is_found() -> None:
    bench = Bench(with_tools({"a": 1}, {"b": 2}), AGENT)
    life = await live(bench, job())
    message, at = life.records[3]
    call = message.calls[0]  # type: ignore[attr-defined]
    life.records[3] = message.replace(calls=(call.replace(arguments={"b": 3}),)), at
    found = (await _sealed(life.chain, bench)).divergence
    assert found == Divergence(1, "tool.calls/0/3", "/calls/0/arguments/b", 3, 2)


async def test_of_two_jobs_of_one_id_the_one_that_began_the_run_counts() -> None:
    bench = Bench(with_tools({"a": 1}), AGENT)
    life = await live(bench, job())
    doubled = Life(life.run_id, [(job(prompt="Another."), T0 - 50), *life.records]).chain
    assert (await _sealed(doubled, bench)).verdict == "identical"


async def test_tools_of_the_operator_s_files_are_there_too() -> None:
    ours = Spec("orders__find", "3", "Finds orders.", {"type": "object"}, "once")
    asks = text_reply(None, tool_calls=(CallRequest(id="", name=ours.name, arguments={}),))
    agent = AGENT.replace(tools=(*AGENT.tools, ours.name))
    bench = Bench(ScriptedModel(asks, LOW), agent, specs={**SPECS, ours.name: ours})
    life = await live(bench, job())
    called = life.chain.stretches[0].output
    assert isinstance(called, ToolCalls)
    assert (called.calls[0].tool_version, called.calls[0].effect) == ("3", "once")

    async def again(**there: Spec) -> Rerun:
        return await asyncio.to_thread(rerun, life.chain, bench.blobs, agent, specs={**SPECS, **there})

    assert (await again(orders__find=ours)).verdict == "identical"
    later = replace(ours, version="4")
    assert (await again(orders__find=later)).verdict == "identical", "another version is no other decision"
    gone = await again()
    assert gone.divergence is not None
    assert gone.divergence.where.startswith("/calls/0/")


async def test_what_is_gone_is_named() -> None:
    bench = Bench(with_tools({"a": 1}, {"b": 2}), AGENT)
    life = await live(bench, job())
    records = [filed(message, at, number) for number, (message, at) in enumerate(life.records)]
    for lost in range(5):
        with pytest.raises(BrokenChain, match="gone"):
            chain_of(life.run_id, [one for number, one in enumerate(records) if number != lost])
    assert chain_of(life.run_id, records[:1]).stretches == ()
    with pytest.raises(BrokenChain, match="gone"):
        chain_of(life.run_id, [one for one in records if isinstance(one.message, ToolResults)])


async def test_a_model_that_failed_for_good_fails_again() -> None:
    bench = Bench(ScriptedModel(text_reply("no JSON"), model_down()), AGENT)
    life = await live(bench, job())
    assert life.chain.result.error.type == "model_error"  # type: ignore[union-attr]
    assert (await _sealed(life.chain, bench)).verdict == "identical"


async def test_an_answer_that_came_past_the_deadline_counts_again() -> None:
    """Time passes within a stretch: what was in time when the model was asked is not when it has answered."""

    class Slow(ScriptedModel):
        async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
            bench.clock_ms += 100_000
            return await super().complete(spec, request)

    bench = Bench(Slow(LOW), AGENT)
    life = await live(bench, job())
    assert life.chain.result.completed_ms > T0 + 60_000  # type: ignore[union-attr]
    assert (await _sealed(life.chain, bench)).verdict == "identical"


async def test_runs_of_a_session_find_what_they_found_then() -> None:
    sessions = Kept()
    asks = text_reply(None, tool_calls=(CallRequest(id="", name="execute_pipeline", arguments={"pipeline": []}),))
    bench = Bench(ScriptedModel(asks, LOW, LOW, LOW, model_down()), AGENT, sessions=sessions)
    in_session = JobContext(session_id="s")
    for number in range(4):
        life = await live(bench, job(job_id=f"turn-{number}", context=in_session), ["z" * 3_000])
        assert life.chain.result is not None
        sessions.note(life.chain.result)
        assert (await _sealed(life.chain, bench)).divergence is None


class Busy(NoSessions):
    async def begin(self, *_: Any) -> Any:
        return ResultError(type="session_busy", message="another run of its session was under way", retryable=True)


async def test_a_run_whose_turn_never_came() -> None:
    bench = Bench(ScriptedModel(), AGENT, sessions=Busy())
    life = await live(bench, job(context=JobContext(session_id="s")))
    assert (await _sealed(life.chain, bench)).divergence is None


async def test_calls_that_waited_were_decided_once() -> None:
    """What orchestration lets go again is no record of reasoning's, and the deadline has moved meanwhile."""
    bench = Bench(with_tools({"a": 1}), AGENT)
    life = await live(bench, job())
    (calls, at), (results, _) = life.records[1], life.records[2]
    assert isinstance(calls, ToolCalls)
    assert isinstance(results, ToolResults)
    later = calls.run.replace(deadline_ms=calls.run.deadline_ms + 1_000)
    life.records.insert(2, (calls.replace(run=later, round=1), at))
    assert len(life.chain.stretches) == 2
    assert (await _sealed(life.chain, bench)).verdict == "identical"


@pytest.mark.parametrize("before", [[], [{"a": 1}]])
async def test_a_run_that_a_budget_ended(before: list[dict[str, Any]]) -> None:
    spent = ResultError(type="budget_exhausted", message="the month is spent", retry_at="2026-12-01T00:00:00Z")
    bench = Bench(with_tools(*before, last=BudgetExhausted(spent)), AGENT)
    life = await live(bench, job())
    assert life.chain.result.error == spent  # type: ignore[union-attr]
    assert (await _sealed(life.chain, bench)).divergence is None


class Adapter:
    """A framework that asks its model once."""

    async def take(self, turn: FrameworkTurn) -> ModelReply:
        return await turn.ask(turn.request)


@pytest.mark.parametrize("runtime", ["http", "langgraph"])
async def test_a_framework_s_turns_are_taken_from_the_records_too(runtime: Any) -> None:
    agent = AGENT.replace(runtime=runtime)
    bench = Bench(with_tools({"a": 1}), agent)
    object.__setattr__(bench.tools, "frameworks", Frameworks({runtime: Adapter()}))
    life = await live(bench, job())
    assert (await _sealed(life.chain, bench, agent)).divergence is None
