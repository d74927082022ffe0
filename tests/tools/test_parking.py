"""Calls that can't finish now: who is asked, what an approval lets through, and what a sub-agent may use."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.messages import ids
from headrace.messages.agent import AgentDefinition, AgentRecord, Canary
from headrace.messages.run import Approval, Family, Progress, ToolCalls, ToolOutcome, ToolResults, Usage
from headrace.messages.wait import RunWait, arguments_hash
from headrace.registry.canary import gets
from headrace.registry.catalog import catalog_of
from headrace.tools.api import ToolContext
from headrace.tools.delegate.mesh_agent import MeshAgents
from headrace.tools.delegate.tool import DelegateToAgent
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.settings import ToolsSettings
from tests.tools.helpers import FakeTool, call, calls, context, definition

PAY = {"amount": 12}
HELPERS = {"agents": ["help*"], "max_runs": 6, "max_depth": 2}


class Bench:
    """The service with a tool ``pay`` that counts, ``look``, and ``delegate_to_agent``; its clock stands at 1 s."""

    def __init__(self, *others: AgentDefinition, **granted: Any) -> None:
        self.paid: list[dict[str, Any]] = []
        tools = ("pay", "look", "delegate_to_agent")
        own = definition(**{"tools": tools, "limits": {"max_tokens": 1_000, "max_cost_usd": 1.0}} | granted)
        catalog = self.catalog = catalog_of([own, helper(), *others])
        needs = {"type": "object", "required": ["amount"]}
        registry = ToolRegistry(
            [
                FakeTool("pay", self._pay, parameters=needs),
                FakeTool("look", self._look),
                DelegateToAgent({"mesh_agent": MeshAgents(catalog)}),
            ]
        )
        self.processor = ToolsProcessor(
            registry, MemoryBlobs(), catalog, ToolsSettings(_env_file=None), now=lambda: 1.0, timer=lambda: 0.0
        )

    async def _pay(self, arguments: dict[str, Any], _: ToolContext) -> Any:
        self.paid.append(arguments)
        return "paid"

    async def _look(self, arguments: dict[str, Any], _: ToolContext) -> Any:
        return "seen"

    async def handle(self, asked: ToolCalls) -> RunWait | ToolResults:
        (send,) = await self.processor.handle(asked, context())
        assert isinstance(send.message, RunWait | ToolResults)
        return send.message

    async def parked(self, asked: ToolCalls) -> RunWait:
        message = await self.handle(asked)
        assert isinstance(message, RunWait), message
        return message

    async def refused(self, asked: ToolCalls) -> str | None:
        """The error type of the only outcome."""
        message = await self.handle(asked)
        assert isinstance(message, ToolResults), message
        (outcome,) = message.results
        return outcome.error.type if outcome.error else None


def helper(**changes: Any) -> AgentDefinition:
    return definition(**{"name": "helper", "version": "2.0.0"} | changes)


def delegated(number: int = 1, agent: str = "helper", **config: Any) -> Any:
    arguments = {"agent_type": "mesh_agent", "inputs": {"n": number}, "config": {"agent": agent} | config}
    return call("delegate_to_agent", f"c{number}", arguments=arguments)


def approval(
    arguments: dict[str, Any] = PAY, *, call_id: str = "c1", run_id: str = "run-1", **changes: Any
) -> Approval:
    digest = arguments_hash(arguments)
    proof = ids.approval_proof("acme", run_id, 3, call_id, "pay", digest)
    given = {"call_id": call_id, "arguments_hash": digest, "proof": proof, "decided_by": "key-7", "decided_ms": 1}
    return Approval(**given | changes)


async def test_what_needs_an_approval_parks_and_the_rest_is_made() -> None:
    bench = Bench(approvals={"tools": ["p*"], "timeout_s": 60})
    parked = await bench.parked(calls(call("look", "c1"), call("pay", "c2", arguments=PAY)))
    (pending,) = parked.pending
    assert (pending.call_id, pending.kind, pending.deadline_ms) == ("c2", "approval", 61_000)
    assert pending.arguments_hash == arguments_hash(PAY)
    assert [(one.call_id, one.content) for one in parked.results] == [("c1", "seen")]
    assert [one.call_id for one in parked.calls] == ["c1", "c2"]
    assert (parked.progress.tool_calls, bench.paid) == (4, []), "counted when the turn is over"


@pytest.mark.parametrize("rule", [None, {"tools": ["look"]}])
async def test_without_such_a_rule_nobody_is_asked(rule: Any) -> None:
    bench = Bench(approvals=rule)
    assert isinstance(await bench.handle(calls(call("pay", arguments=PAY))), ToolResults)
    assert bench.paid == [PAY]


async def test_nobody_is_asked_about_what_would_be_refused() -> None:
    bench = Bench(approvals={})
    assert await bench.refused(calls(call("pay", arguments={}))) == "invalid_arguments"
    bench = Bench(approvals={}, tools=["look"])
    assert await bench.refused(calls(call("pay", arguments=PAY))) == "not_allowed"


async def test_an_approved_call_is_made_once_beside_what_is_there() -> None:
    bench = Bench(approvals={})
    there = ToolOutcome(call_id="c1", tool="look", tool_version="1.2.3", status="ok", content="seen before")
    asked = calls(call("look", "c1"), call("pay", "c2", arguments=PAY)).replace(
        round=1, results=(there,), approvals=(approval(call_id="c2"),)
    )
    message = await bench.handle(asked)
    assert isinstance(message, ToolResults)
    assert [one.content for one in message.results] == ["seen before", "paid"]
    assert (bench.paid, message.progress.tool_calls) == ([PAY], 6)


async def test_the_model_learns_with_what_arguments_it_was_approved() -> None:
    bench = Bench(approvals={})
    other = {"amount": 1}
    asked = calls(call("pay", arguments=other)).replace(approvals=(approval(other, edited=True),))
    message = await bench.handle(asked)
    assert isinstance(message, ToolResults)
    assert message.results[0].content == {"approved_with": other, "result": "paid"}
    message = await bench.handle(asked.replace(run=asked.run.replace(direct=True)))
    assert isinstance(message, ToolResults)
    assert message.results[0].content == "paid", "a workflow's node gives what its tool gave, whoever approved it"


@pytest.mark.parametrize(
    "forged",
    [
        approval({"amount": 13}),
        approval(run_id="run-2"),
        approval(call_id="c9").replace(call_id="c1"),
        approval().replace(proof="0" * 64),
        approval().replace(arguments_hash="0" * 64),
    ],
)
async def test_an_approval_of_anything_else_lets_nothing_through(forged: Approval) -> None:
    bench = Bench(approvals={})
    assert await bench.refused(calls(call("pay", arguments=PAY)).replace(approvals=(forged,))) == "not_approved"
    assert bench.paid == []


async def test_sub_agents_of_a_turn_share_what_is_left() -> None:
    bench = Bench(delegation=HELPERS)
    spent = Progress(
        step=3, usage=Usage(input_tokens=300, cost_usd=0.2), delegated=Usage(output_tokens=100, cost_usd=0.2)
    )
    asked = calls(delegated(1), delegated(2), call("look", "c3"), deadline_ms=101_000).replace(progress=spent)
    parked = await bench.parked(asked)
    first, second = (pending.job for pending in parked.pending)
    assert first is not None
    assert second is not None
    assert {pending.kind for pending in parked.pending} == {"agent"}
    assert (first.agent, first.agent_version, first.input, first.timeout_sec) == ("helper", "2.0.0", {"n": 1}, 90.0)
    assert first.job_id == ids.child_job_id("acme", "run-1", 3, "c1") != second.job_id
    assert (
        first.family
        == second.family
        == Family(parent_run_id="run-1", root_run_id="run-1", depth=1, runs_left=2, max_tokens=300, max_cost_usd=0.3)
    )
    assert parked.pending[0].deadline_ms == 1_000 + 90_000 + 30_000
    assert (first.tenant, first.user_id, first.context.session_id) == ("acme", "u", None)


async def test_a_family_s_limits_are_those_of_its_first_run() -> None:
    bench = Bench(delegation=HELPERS | {"max_depth": 3})
    family = Family(parent_run_id="p", root_run_id="r", depth=2, runs_left=2, max_tokens=50, max_cost_usd=0.1)
    asked = calls(delegated())
    asked = asked.replace(run=asked.run.replace(family=family), progress=Progress(step=3, children=1))
    job = (await bench.parked(asked)).pending[0].job
    assert job is not None
    assert job.family == Family(
        parent_run_id="run-1", root_run_id="r", depth=3, runs_left=0, max_tokens=50, max_cost_usd=0.1
    )
    deeper = asked.replace(run=asked.run.replace(family=family.replace(depth=3)))
    assert await bench.refused(deeper) == "limit_depth"
    assert await bench.refused(asked.replace(progress=Progress(step=3, children=2))) == "limit_runs"
    used = Progress(step=3, delegated=Usage(input_tokens=50))
    assert await bench.refused(asked.replace(progress=used)) == "limit_tokens"
    used = Progress(step=3, usage=Usage(cost_usd=0.1))
    assert await bench.refused(asked.replace(progress=used)) == "limit_cost"


async def test_who_may_be_delegated_to() -> None:
    bench = Bench(definition(name="stranger"), delegation=HELPERS)
    assert await bench.refused(calls(delegated(agent="stranger"))) == "not_allowed"
    assert await bench.refused(calls(delegated(agent="helpless"))) == "unknown_agent"
    assert await bench.refused(calls(delegated(version="9.0.0"))) == "unknown_agent"
    nameless = call("delegate_to_agent", arguments={"agent_type": "mesh_agent", "inputs": {}})
    assert await bench.refused(calls(nameless)) == "invalid_arguments"
    assert await bench.refused(calls(delegated(), deadline_ms=500)) == "deadline"
    assert await Bench().refused(calls(delegated())) == "not_allowed", "no delegation, no sub-agents"


async def test_a_sub_agent_s_version_is_that_of_its_family_s_key() -> None:
    bench = Bench(helper(version="1.0.0"), delegation=HELPERS)
    canary = Canary(version="2.0.0", percent=50)
    bench.catalog.apply("helper", AgentRecord(name="helper", live_version="1.0.0", canary=canary))
    for session in map(str, range(8)):
        asked = [calls(delegated(number)) for number in (1, 2)]
        waits = [await bench.parked(one.replace(run=one.run.replace(session_id=session))) for one in asked]
        jobs = [one.job for wait in waits for one in wait.pending if one.job]
        expected = "2.0.0" if gets("helper", "2.0.0", 50, session) else "1.0.0"
        assert [job.agent_version for job in jobs] == [expected, expected]


async def test_an_agent_that_needs_an_approval_begins_after_it() -> None:
    guarded = helper(name="helper-of-note", approval="required")
    bench = Bench(guarded, delegation=HELPERS)
    asked = calls(delegated(agent="helper-of-note"))
    assert [one.kind for one in (await bench.parked(asked)).pending] == ["approval"]
    digest = arguments_hash(asked.calls[0].arguments)
    proof = ids.approval_proof("acme", "run-1", 3, "c1", "delegate_to_agent", digest)
    yes = Approval(call_id="c1", arguments_hash=digest, proof=proof, decided_by="key-7", decided_ms=1)
    parked = await bench.parked(asked.replace(approvals=(yes,), round=1))
    assert [one.kind for one in parked.pending] == ["agent"]
    assert parked.message_id() == "run-1:3:wait:1"


async def test_a_yes_to_a_repetition_is_bound_as_such() -> None:
    bench = Bench(approvals={})
    forged = approval().replace(repeat=True)
    assert await bench.refused(calls(call("pay", arguments=PAY)).replace(approvals=(forged,))) == "not_approved"
