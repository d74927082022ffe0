"""Composite tools in a run: which are offered, the same from its first step to its last, and as records say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from headrace.messages.agent import AgentDefinition
from headrace.messages.run import ToolCalls
from headrace.reasoning.toolsets import Toolsets
from headrace.toolbox.composites import VERSION, Composite
from headrace.toolbox.follow import Offers
from tests.reasoning.bench import Bench, ScriptedModel, answered, calls_reply, context, definition, job, text_reply

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGENT = definition(http_domains=("api.flights.com", "*.open.test"))


def composite(name: str, *urls: str, tenant: str = "default") -> Composite:
    steps = [{"step": "http_request", "url": url} for url in urls] or [{"step": "top_k", "k": 1}]
    return Composite(
        tenant=tenant,
        digest=name,
        name=f"composite_{name}",
        description=f"Does {name}.",
        steps=steps,
        state="promoted",
        decided_by="use",
        uses=2,
        first_used_at=NOW,
        last_used_at=NOW,
        decided_at=NOW,
    )


def offering(*composites: Composite) -> Offers:
    offers = Offers()
    offers.replace(composites)
    return offers


class Equipped:
    """A bench whose runs are offered composite tools."""

    def __init__(self, model: ScriptedModel, offers: Offers, agent: AgentDefinition = AGENT, limit: int = 8) -> None:
        self.model = model
        self.bench = Bench(model, agent, toolsets=lambda blobs: Toolsets(offers, blobs, limit))

    def offered(self, request: int = -1) -> list[str]:
        return [tool.name for tool in self.model.requests[request].tools]


async def offered(*composites: Composite, agent: AgentDefinition = AGENT, limit: int = 8, **asked: Any) -> list[str]:
    equipped = Equipped(ScriptedModel(text_reply("done")), offering(*composites), agent, limit)
    await equipped.bench.start(job(**asked))
    return equipped.offered()


async def test_an_agent_that_may_execute_pipelines_is_offered_them_after_its_own() -> None:
    assert await offered(composite("one"), composite("two")) == ["execute_pipeline", "composite_one", "composite_two"]
    assert await offered(composite("one"), agent=definition(tools=())) == []
    assert await offered(composite("one"), agent=definition(tools=("search_tools",))) == ["search_tools"]


async def test_only_of_its_tenant_only_within_its_hosts_and_only_so_many() -> None:
    assert await offered(composite("one", tenant="other")) == ["execute_pipeline"]
    assert await offered(composite("one"), tenant="other") == ["execute_pipeline"]
    hosts = ("api.flights.com/search", "https://a.open.test/", "https://open.test/", "http://10.0.0.1/", "http://[bad")
    reached = await offered(*(composite(str(number), url) for number, url in enumerate(hosts)))
    assert reached == ["execute_pipeline", "composite_0", "composite_1"]
    many = [composite(f"n{number}") for number in range(5)]
    assert await offered(*many, limit=2) == ["execute_pipeline", "composite_n3", "composite_n4"]
    assert await offered(*many, limit=0) == ["execute_pipeline"]


async def test_a_run_keeps_what_it_was_offered_whatever_happens_in_between() -> None:
    model = ScriptedModel(calls_reply({"a": 1}), text_reply("done"), text_reply("another"))
    offers = offering(composite("one"))
    equipped = Equipped(model, offers)
    (asked,) = await equipped.bench.start()
    offers.replace([composite("two")])
    await equipped.bench.resume(answered(asked, 1))
    assert equipped.offered(0) == equipped.offered(1) == ["execute_pipeline", "composite_one"]
    await equipped.bench.start(job(job_id="job-2"), context(offset=9))
    assert equipped.offered() == ["execute_pipeline", "composite_two"]


async def test_another_reasoner_goes_on_from_the_record_alone() -> None:
    equipped = Equipped(ScriptedModel(calls_reply({"a": 1})), offering(composite("one")))
    (asked,) = await equipped.bench.start()
    model = ScriptedModel(text_reply("done"))
    stranger = Bench(model, AGENT, blobs=equipped.bench.blobs)
    await stranger.resume(answered(asked, 1))
    assert [tool.name for tool in model.requests[0].tools] == ["execute_pipeline", "composite_one"]
    assert model.requests[0].tools == equipped.model.requests[0].tools


async def test_a_call_of_one_is_recorded_with_its_version() -> None:
    reply = calls_reply({}, {})
    named = reply._replace(
        tool_calls=tuple(
            request.replace(name=name)
            for request, name in zip(reply.tool_calls, ("composite_one", "composite_x"), strict=True)
        )
    )
    (asked,) = await Equipped(ScriptedModel(named), offering(composite("one"))).bench.start()
    assert isinstance(asked, ToolCalls)
    assert [(call.tool, call.tool_version, call.effect) for call in asked.calls] == [
        ("composite_one", VERSION, "none"),
        ("composite_x", "0.0.0", "none"),
    ]


async def test_without_composite_tools_records_are_as_they_were() -> None:
    (asked,) = await Equipped(ScriptedModel(calls_reply({"a": 1})), Offers()).bench.start()
    assert asked.run.toolset_ref is None


async def test_runs_that_are_offered_the_same_share_one_blob() -> None:
    model = ScriptedModel(*[calls_reply({"a": 1})] * 3)
    equipped = Equipped(model, offering(composite("one")))
    records = [
        (await equipped.bench.start(job(job_id=f"job-{number}"), context(offset=number)))[0] for number in range(3)
    ]
    assert len({record.run.toolset_ref for record in records}) == 1
    assert records[0].run.toolset_ref.startswith("cas://sha256:")
