"""``execute_pipeline`` with its memory, on Postgres and a real HTTP server: results given again, uses counted, composite tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.tenants import TenantBlobs
from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.messages.run import ToolResults
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings
from headrace.toolbox.cache import PipelineCache
from headrace.toolbox.canonical import canonical, digest_of
from headrace.toolbox.composites import Composites
from headrace.toolbox.naming import name_of
from headrace.toolbox.search import ToolSearch
from headrace.toolbox.usage import PipelineUsage
from headrace.tools.api import Asked, CallParked, ToolFailure
from headrace.tools.composite import CompositeTools
from headrace.tools.pipeline.executor import ExecutePipeline
from headrace.tools.pipeline.freshness import fresh_for
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.pipeline.remembered import MemoryLimits, RememberedPipelines
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.search import SearchTools
from headrace.tools.settings import ToolsSettings
from tests.tools.helpers import CONTEXT, Definitions, call, calls, context, definition, granted
from tests.tools.servers import Seen, Server, response, serving

SORT = {"step": "table_sort", "field": "n"}
CONTROL = {"/never": "private, no-store", "/soon": "public, max-age=0", "/hour": "max-age=3600"}


async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
    headers = [("cache-control", CONTROL[seen.path])] if seen.path in CONTROL else []
    writer.write(response(503 if seen.path == "/busy" else 200, b'[{"n":2},{"n":1}]', headers))


class Bench:
    def __init__(self, server: Server, client: GuardedClient, pool: asyncpg.Pool, jq: JqPool) -> None:
        self.server, self.pool, self.blobs = server, pool, MemoryBlobs()
        self.executing = ExecutePipeline(client, self.blobs, jq)
        self.composites = Composites(pool)
        self.registry = self.with_limits()

    def with_limits(self, pool: asyncpg.Pool | None = None, **limits: Any) -> ToolRegistry:
        pool = pool or self.pool
        tool = RememberedPipelines(self.executing, PipelineCache(pool), PipelineUsage(pool), MemoryLimits(**limits))
        find = CompositeTools(self.composites, tool, max_output_bytes=100_000).find
        self.registry = ToolRegistry([tool, SearchTools(ToolSearch(pool))], find=find)
        return self.registry

    async def store(self, data: bytes) -> str:
        return await TenantBlobs(self.blobs, CONTEXT.tenant).put(data)

    def fetch(self, path: str = "/rows", **more: Any) -> dict[str, Any]:
        return {"step": "http_request", "url": self.server.url + path} | more

    async def run(self, *steps: dict[str, Any], input_ref: str | None = None, **grants: Any) -> bool:
        """Whether it was given from the cache."""
        arguments = {"session_id": "s", "pipeline": list(steps)} | ({"input_ref": input_ref} if input_ref else {})
        output = await self.registry.run("execute_pipeline", arguments, granted(**grants))
        assert ("cached_at" in output.content) == output.cache_hit
        return output.cache_hit

    async def promoted(self, *steps: dict[str, Any], tenant: str = "default") -> str:
        for number in range(2):
            await self.run(*steps, idempotency_key=f"p{number}", tenant=tenant)
        return name_of(steps, digest_of(canonical(steps)))

    @property
    def asked(self) -> int:
        """Requests that reached the server."""
        return len(self.server.requests)


@pytest.fixture
async def bench(pool: asyncpg.Pool) -> AsyncIterator[Bench]:
    async with serving(script) as server:
        policy = EgressPolicy(timeout_s=30, private=PrivateTargets.parse([server.target]))
        async with GuardedClient(policy) as client, JqPool(size=1) as jq:
            yield Bench(server, client, pool, jq)


async def test_the_same_pipeline_is_executed_once_and_given_again(bench: Bench) -> None:
    assert [await bench.run(bench.fetch(), SORT) for _ in range(3)] == [False, True, True]
    assert bench.asked == 1
    assert not await bench.run(bench.fetch(), SORT | {"order": "desc"})
    assert not await bench.run(bench.fetch(params={"q": "x"}), SORT)
    assert bench.asked == 3


async def test_a_result_never_reaches_another_tenant_or_an_agent_with_other_hosts(bench: Bench) -> None:
    assert not await bench.run(bench.fetch())
    assert not await bench.run(bench.fetch(), tenant="other")
    assert not await bench.run(bench.fetch(), domains=("127.0.0.1", "x.test"))
    with pytest.raises(ToolFailure) as caught:
        await bench.run(bench.fetch(), domains=())
    assert caught.value.type == "egress_denied"


async def test_another_input_is_another_result(bench: Bench) -> None:
    one, two = await bench.store(b'[{"n":1}]'), await bench.store(b'[{"n":2}]')
    assert [await bench.run(SORT, input_ref=ref) for ref in (one, two, one, two)] == [False, False, True, True]


async def test_what_must_not_be_given_again_is_not(bench: Bench) -> None:
    post = bench.fetch(method="POST", params={"a": 1})
    clock = {"step": "jq_transform", "query": "map(. + {at: now})"}
    for steps in ([post], [bench.fetch("/never")], [bench.fetch("/soon")], [bench.fetch(), clock]):
        assert [await bench.run(*steps) for _ in range(2)] == [False, False]
    assert [await bench.run(bench.fetch("/hour")) for _ in range(2)] == [False, True]
    failing = bench.fetch("/busy")
    for _ in range(2):
        with pytest.raises(ToolFailure, match="503"):
            await bench.run(failing)
    assert sum(seen.path == "/busy" for seen in bench.server.requests) == 2


async def test_the_switch(bench: Bench) -> None:
    ref = await bench.store(b'[{"n":1}]')
    bench.with_limits(caching="inputs")
    assert [await bench.run(bench.fetch()) for _ in range(2)] == [False, False]
    assert [await bench.run(SORT, input_ref=ref) for _ in range(2)] == [False, True]
    bench.with_limits(caching="off")
    assert not await bench.run(SORT, input_ref=ref)


async def test_a_result_ages(bench: Bench) -> None:
    assert not await bench.run(bench.fetch())
    await bench.pool.execute("UPDATE pipeline_cache SET expires_at = now()")
    assert [await bench.run(bench.fetch()) for _ in range(2)] == [False, True]
    left = await bench.pool.fetchval("SELECT extract(epoch FROM expires_at - stored_at) FROM pipeline_cache")
    assert left == 3_600


async def test_without_postgres_pipelines_work_as_if_they_remembered_nothing(bench: Bench) -> None:
    away = MeshSettings(_env_file=None, database_url=SecretStr("postgresql://127.0.0.1:1/nothing"))
    async with open_pool(away) as nothing:
        bench.with_limits(nothing)
        assert [await bench.run(bench.fetch()) for _ in range(2)] == [False, False]


async def test_a_hit_shows_in_the_record_and_in_the_run_s_progress(bench: Bench) -> None:
    settings = ToolsSettings(_env_file=None)
    processor = ToolsProcessor(bench.registry, bench.blobs, Definitions(definition()), settings, now=lambda: 0)
    arguments = {"session_id": "s", "pipeline": [bench.fetch(), SORT]}
    asked = calls(call("execute_pipeline", arguments=arguments))
    first, second = [(await processor.handle(asked, context()))[0].message for _ in range(2)]
    assert isinstance(first, ToolResults)
    assert isinstance(second, ToolResults)
    assert ([r.cache_hit for r in first.results], first.progress.cache_hits) == ([False], 0)
    assert ([r.cache_hit for r in second.results], second.progress.cache_hits) == ([True], 1)
    (found,) = await bench.composites.all("acme", used=True)
    assert (found.uses, found.state) == (1, "used")  # the record was read twice, the call is one


async def test_a_composite_tool_is_its_pipeline_by_name(bench: Bench) -> None:
    name = await bench.promoted(bench.fetch(), SORT)
    output = await bench.registry.run(name, {}, granted(idempotency_key="p9"))
    assert output.content["rows"] == [{"n": 1}, {"n": 2}]
    (tool,) = await bench.composites.all("default")
    assert tool.uses == 3
    wrong = await _refused(bench, name, {"pipeline": []})
    assert (wrong.type, str(wrong)) == (
        "invalid_arguments",
        "/: Additional properties are not allowed ('pipeline' was unexpected)",
    )


async def test_a_composite_tool_grants_nothing(bench: Bench) -> None:
    name = await bench.promoted(bench.fetch())
    asked = bench.asked
    assert (await _refused(bench, name, {}, tools=("search_tools",))).type == "not_allowed"
    assert (await _refused(bench, name, {}, domains=("other.test",))).type == "egress_denied"
    assert (await _refused(bench, name, {}, tenant="other")).type == "unknown_tool"
    await bench.composites.demote("default", name)
    assert (await _refused(bench, name, {})).type == "unknown_tool"
    assert (await _refused(bench, "composite_nothing", {})).type == "unknown_tool"
    assert bench.asked == asked


async def test_a_composite_tool_waits_for_a_yes_where_its_pipeline_would(bench: Bench) -> None:
    name = await bench.promoted(bench.fetch())
    careful = definition(approvals={"tools": ["execute_pipeline"]})
    waiting = granted(asked=Asked(calls(call(name)), careful, call(name)), approve_by_ms=5)
    with pytest.raises(CallParked) as parked:
        await bench.registry.run(name, {}, waiting)
    assert (parked.value.kind, parked.value.deadline_ms) == ("approval", 5)
    with pytest.raises(CallParked):
        await bench.registry.run(name, {}, granted(approval="required"))
    assert (await bench.registry.run(name, {}, waiting._replace(approval="given"))).cache_hit


async def test_what_has_effects_is_never_promoted(bench: Bench) -> None:
    await bench.promoted(bench.fetch(method="POST"))
    assert await bench.composites.all("default", used=True) == []


async def test_agents_search_within_their_tenant(bench: Bench) -> None:
    name = await bench.promoted(bench.fetch(), SORT)
    tools = (*CONTEXT.tools, "search_tools")
    found = (await bench.registry.run("search_tools", {"query": "fetch and sort"}, granted(tools=tools))).content
    assert (found["count"], found["tools"][0]["name"], found["tools"][0]["pipeline"]) == (
        1,
        name,
        [bench.fetch(), SORT],
    )
    assert orjson.dumps(found)
    other = await bench.registry.run("search_tools", {"query": "fetch"}, granted(tools=tools, tenant="other"))
    assert other.content == {"count": 0, "tools": []}
    assert (await _refused(bench, "search_tools", {"query": "x"})).type == "not_allowed"
    assert (await _refused(bench, "search_tools", {"query": "x", "limit": 0}, tools=tools)).type == "invalid_arguments"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"cache-control": "public"}, None),
        ({"cache-control": "Max-Age = 60, public"}, 60),
        ({"cache-control": "max-age=60", "age": "50"}, 10),
        ({"cache-control": "max-age=60", "age": "61"}, 0),
        ({"cache-control": "max-age=60", "age": "-1"}, 60),
        ({"cache-control": "max-age=60, no-store"}, 0),
        ({"cache-control": 'no-cache="set-cookie"'}, 0),
        ({"cache-control": "s-maxage=5, x-no-storex, max-age=banana"}, None),
    ],
)
def test_how_long_an_answer_is_fresh(headers: dict[str, str], seconds: float | None) -> None:
    assert fresh_for(headers) == seconds


async def _refused(bench: Bench, name: str, arguments: dict[str, Any], **grants: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await bench.registry.run(name, arguments, granted(**grants))
    return caught.value
