"""The toolbox on Postgres: counting once, promotion and its switches, the cache's age, and the search."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from headrace.messages.errors import BadMessage
from headrace.toolbox.cache import PipelineCache
from headrace.toolbox.canonical import canonical, digest_of
from headrace.toolbox.composites import Composites, arguments_of, spec_of
from headrace.toolbox.follow import followed_offers
from headrace.toolbox.naming import describe, name_of
from headrace.toolbox.search import ToolSearch
from headrace.toolbox.usage import PipelineUsage, Use

FLIGHTS: list[dict[str, Any]] = [
    {"step": "http_request", "url": "api.flights.com/search"},
    {"step": "table_sort", "field": "price"},
]
CHEAP: list[dict[str, Any]] = [{"step": "table_filter", "condition": {"field": "price", "op": "<", "value": 500}}]
HOTELS: list[dict[str, Any]] = [{"step": "http_request", "url": "hotels.example.org"}, {"step": "top_k", "k": 3}]
FLIGHTS_TOOL, CHEAP_TOOL, HOTELS_TOOL = (
    name_of(steps, digest_of(canonical(steps))) for steps in (FLIGHTS, CHEAP, HOTELS)
)


def use(steps: list[dict[str, Any]], call: str, *, tenant: str = "acme", agent: str = "travel-agent") -> Use:
    digest = digest_of(canonical(steps))
    return Use(
        tenant=tenant,
        call_key=call,
        run_id=f"run-of-{call}",
        agent=agent,
        digest=digest,
        name=name_of(steps, digest),
        description=describe(steps),
        steps=canonical(steps),
    )


async def test_a_pipeline_that_is_used_twice_becomes_a_tool_and_a_call_counts_once(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)
    counted = [await usage.count(use(FLIGHTS, call), 2) for call in ("c1", "c1", "c2", "c2", "c3")]
    assert counted == [False, False, True, False, False]
    (tool,) = await composites.all("acme")
    assert (tool.name, tool.state, tool.decided_by, tool.uses, tool.steps) == (
        FLIGHTS_TOOL,
        "promoted",
        "use",
        3,
        FLIGHTS,
    )
    assert [one.run_id for one in await composites.uses(tool)] == ["run-of-c3", "run-of-c2", "run-of-c1"]
    assert await composites.all("other") == []


async def test_uses_at_once_are_all_counted_and_promote_once(pool: asyncpg.Pool) -> None:
    usage = PipelineUsage(pool)
    calls = [f"c{number // 2}" for number in range(40)]  # each call twice
    promoted = await asyncio.gather(*(usage.count(use(FLIGHTS, call), 5) for call in calls))
    assert sum(promoted) == 1
    (tool,) = await Composites(pool).all("acme")
    assert tool.uses == 20


async def test_tenants_never_share(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)
    await usage.count(use(FLIGHTS, "c1"), 2)
    assert not await usage.count(use(FLIGHTS, "c1", tenant="other"), 2)
    for number in range(2):
        await usage.count(use(HOTELS, f"h{number}"), 2)
    assert [tool.name for tool in await composites.offered()] == [HOTELS_TOOL]
    assert await composites.find("other", HOTELS_TOOL) is None
    assert await ToolSearch(pool).find("other", "hotels") == []


async def test_switched_off_nothing_is_promoted_and_nothing_offered(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)
    for number in range(2):
        await usage.count(use(HOTELS, f"h{number}"), 2)
    await composites.switch("acme", on=False)
    for number in range(3):
        assert not await usage.count(use(FLIGHTS, f"c{number}"), 2)
    assert await composites.offered() == []
    assert not await composites.promotion("acme")
    await composites.switch("acme", on=True)
    assert [tool.name for tool in await composites.offered()] == [HOTELS_TOOL]
    assert await usage.count(use(FLIGHTS, "c4"), 2)
    assert not await usage.count(use(CHEAP, "never"), 0)


async def test_what_an_operator_takes_back_stays_so(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)
    for number in range(2):
        await usage.count(use(FLIGHTS, f"c{number}"), 2)
    demoted = await composites.demote("acme", FLIGHTS_TOOL)
    assert demoted is not None
    assert (demoted.state, demoted.decided_by) == ("demoted", "operator")
    assert not await usage.count(use(FLIGHTS, "c9"), 2)
    assert await composites.offered() == []
    assert [tool.state for tool in await composites.all("acme", used=True)] == ["demoted"]
    again = await composites.promote(
        "acme", demoted.digest, new_name="composite_flights", description="Flights, cheapest first."
    )
    assert again is not None
    assert (again.name, again.state, again.uses) == ("composite_flights", "promoted", 3)
    assert await composites.promote("acme", "composite_nothing") is None
    with pytest.raises(BadMessage, match="composite_"):
        await composites.promote("acme", "composite_flights", new_name="execute_pipeline")


async def test_a_tool_s_only_freedom_is_its_input(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)
    for steps in (FLIGHTS, CHEAP):
        await usage.count(use(steps, f"c{len(steps)}"), 1)
    flights, cheap = await composites.find("acme", FLIGHTS_TOOL), await composites.find("acme", CHEAP_TOOL)
    assert flights is not None
    assert cheap is not None
    assert spec_of(flights).parameters["properties"].keys() == {"session_id"}
    assert spec_of(cheap).parameters["required"] == ["input_ref"]
    assert spec_of(cheap).effect == "none"
    assert arguments_of(cheap, {"input_ref": "cas://x", "pipeline": [{"step": "top_k", "k": 1}]}) == {
        "session_id": "",
        "pipeline": CHEAP,
        "input_ref": "cas://x",
    }


async def test_offers_follow_what_is_decided(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)

    async def offered(names: list[str]) -> None:
        async with asyncio.timeout(20):
            while [tool.name for tool in offers.of("acme")] != names:
                await asyncio.sleep(0.01)

    async with followed_offers(composites, every_s=0.01) as offers:
        await usage.count(use(FLIGHTS, "c1"), 1)
        await offered([FLIGHTS_TOOL])
        await usage.count(use(HOTELS, "h1"), 1)
        await offered([FLIGHTS_TOOL, HOTELS_TOOL])
        revision = offers.revision
        await usage.count(use(FLIGHTS, "c2"), 1)
        await composites.demote("acme", FLIGHTS_TOOL)
        await offered([HOTELS_TOOL])
        assert offers.revision == revision + 1  # a use is no change
        await composites.switch("acme", on=False)
        await offered([])


async def test_what_is_past_its_time_is_not_given_and_goes(pool: asyncpg.Pool) -> None:
    cache = PipelineCache(pool)
    await cache.put("acme", b"key", b"1", 60)
    await cache.put("acme", b"old", b"2", 0)
    assert await cache.get("acme", b"old") is None
    assert await cache.get("other", b"key") is None
    assert await cache.sweep() == 1
    await cache.put("acme", b"key", b"3", 60)
    hit = await cache.get("acme", b"key")
    assert hit is not None
    assert hit.content == b"3"


async def test_old_uses_go_and_what_was_promoted_stays(pool: asyncpg.Pool) -> None:
    usage, composites = PipelineUsage(pool), Composites(pool)
    for steps, times in ((FLIGHTS, 2), (CHEAP, 1)):
        for number in range(times):
            await usage.count(use(steps, f"{len(steps)}-{number}"), 2)
    assert await usage.sweep() == 0
    await pool.execute("UPDATE pipeline_uses SET used_at = used_at - interval '31 days'")
    await pool.execute("UPDATE pipelines SET last_used_at = last_used_at - interval '31 days'")
    assert await usage.sweep() == 1
    (tool,) = await composites.all("acme", used=True)
    assert (tool.name, tool.uses, await composites.uses(tool)) == (FLIGHTS_TOOL, 2, [])


async def test_the_search_finds_by_name_words_hosts_and_users(pool: asyncpg.Pool) -> None:
    usage, search = PipelineUsage(pool), ToolSearch(pool)
    for steps, agent in ((FLIGHTS, "travel-agent"), (HOTELS, "concierge"), (CHEAP, "travel-agent")):
        await usage.count(use(steps, name_of(steps, b"x"), agent=agent), 1)

    async def names(query: str, limit: int = 10) -> list[str]:
        return [found.name for found in await search.find("acme", query, limit)]

    assert await names("flights") == [FLIGHTS_TOOL]
    assert await names("something sorted by price, from api.flights.com") == [FLIGHTS_TOOL, CHEAP_TOOL]
    assert await names("concierge") == [HOTELS_TOOL]
    assert await names(HOTELS_TOOL) != []
    assert (await names(HOTELS_TOOL))[0] == HOTELS_TOOL
    assert len(await names("travel agent concierge", limit=2)) == 2
    for nothing in ("", "the of", "zebra", "' | & ! <-> :* \\ ( \x00", "x" * 10_000):
        assert await names(nothing) == []
    (found,) = await search.find("acme", "flights")
    assert (found.kind, found.pipeline, found.uses, found.rank > 0) == ("composite", FLIGHTS, 1, True)


WORKFLOWS = """
INSERT INTO workflows (tenant, tag, owner, live_version, listens) VALUES
    ('acme', 'price-alert', 'ada', 2, false), ('other', 'price-watch', 'eve', 1, false);
INSERT INTO workflow_versions
    (tenant, tag, version, kind, patch_id, description, author, definition, definition_hash) VALUES
    ('acme', 'price-alert', 1, 'created', 'p1', '', 'ada', '{"description": "Mails about hotels"}', 'h1'),
    ('acme', 'price-alert', 2, 'patched', 'p2', '', 'ada', '{"description": "Mails when flights get cheap"}', 'h2'),
    ('other', 'price-watch', 1, 'created', 'p3', '', 'eve', '{"description": "Flights of others"}', 'h3');
"""


async def test_the_search_finds_workflows_as_they_are_live_beside_tools(pool: asyncpg.Pool) -> None:
    await PipelineUsage(pool).count(use(FLIGHTS, "c1"), 1)
    await pool.execute(WORKFLOWS)
    search = ToolSearch(pool)
    found = await search.find("acme", "mail when flights are cheap")
    assert [(one.kind, one.name) for one in found] == [("workflow", "price-alert"), ("composite", FLIGHTS_TOOL)]
    assert (found[0].description, found[0].pipeline) == ("Mails when flights get cheap", None)
    assert [one.name for one in await search.find("acme", "price alert", 1)] == ["price-alert"]
    assert await search.find("acme", "hotels") == []
