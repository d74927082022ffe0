"""The stable prefix: the same bytes on every turn, marked for caching exactly when it is long enough to be cached."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest

from headrace.messages.run import CallRequest, Entry
from headrace.models import ModelReply, ModelRequest
from headrace.models.anthropic_wire import CACHE_MIN_TOKENS
from headrace.models.resolve import Models
from headrace.simulator.server import Simulator
from tests.models.conftest import LOOKUP, MODEL_NAMES, Bench, ProviderName
from tests.support.simulator import settings_for

LONG = "You weigh the risk of changes to a payment system. " * 100
TURNS = 4


async def loop(bench: Bench, system: str) -> list[ModelReply]:
    """A run of ``TURNS`` model turns, each but the last with one tool call."""
    bench.play(
        {"match": {"turn": TURNS - 1}, "reply": {"text": "done"}},
        {"reply": {"tool_calls": [{"name": "lookup", "arguments": {"city": "Rome"}}]}},
    )
    entries = [Entry(role="user", content="Begin.")]
    replies = []
    for _ in range(TURNS):
        reply = await bench.ask(*entries, system=system, tools=(LOOKUP,))
        replies.append(reply)
        entries.append(Entry(role="assistant", content=reply.text, tool_calls=reply.tool_calls))
        entries += [
            Entry(role="tool", call_id=call.id, tool=call.name, content="x" * 2_000) for call in reply.tool_calls
        ]
    return replies


def marks(value: Any) -> int:
    return orjson.dumps(value).count(b"cache_control")


async def test_prefix_bytes_are_stable_across_turns(bench: Bench) -> None:
    """Byte for byte: what comes before the conversation, and the conversation up to where it was."""
    await loop(bench, LONG)
    first, *later = bench.seen
    for name in ("tools", "system"):
        assert {orjson.dumps(seen.body.get(name)) for seen in later} == {orjson.dumps(first.body.get(name))}
    if bench.provider == "openai":
        for earlier, after in zip(bench.seen, bench.seen[1:], strict=False):
            kept = orjson.dumps(earlier.body["messages"])[:-1]
            assert orjson.dumps(after.body["messages"]).startswith(kept)


async def test_prefix_is_the_same_bytes_on_the_wire(bench: Bench) -> None:
    """Not only the same values: the client libraries must not reorder them either."""
    await loop(bench, LONG)
    for seen in bench.seen:
        for part in ("tools", "system"):
            expected = orjson.dumps(bench.seen[0].body.get(part))
            assert part not in seen.body or expected in seen.raw
    if bench.provider == "openai":
        start = bench.seen[0].raw.index(LONG[:40].encode())
        assert len({seen.raw[: start + len(LONG)] for seen in bench.seen}) == 1


async def test_later_turns_read_the_cache(bench: Bench) -> None:
    first, second, *later = [reply.usage for reply in await loop(bench, LONG)]
    assert first.cache_read_tokens == 0
    assert second.cache_read_tokens >= CACHE_MIN_TOKENS
    for before, usage in zip([second, *later], later, strict=False):
        assert usage.cache_read_tokens > before.cache_read_tokens
        assert usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens < CACHE_MIN_TOKENS


@pytest.mark.parametrize("provider", ["anthropic"])
@pytest.mark.parametrize(("chars", "marked"), [(CACHE_MIN_TOKENS * 4, True), (CACHE_MIN_TOKENS * 4 - 1, False)])
async def test_mark_only_from_the_minimum_on(bench: Bench, chars: int, marked: bool) -> None:
    await bench.ask(system="s" * chars)
    body = bench.seen[0].body
    assert ("cache_control" in body["system"][-1], marks(body)) == (marked, int(marked))


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_tools_count_into_the_prefix_and_carry_the_mark_without_system(bench: Bench) -> None:
    big = type(LOOKUP)("big", "d" * CACHE_MIN_TOKENS * 4, {"type": "object"})
    await bench.ask(system="", tools=(LOOKUP, big))
    tools = bench.seen[0].body["tools"]
    assert ["cache_control" in tool for tool in tools] == [False, True]


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_conversation_is_marked_at_its_end_once_it_goes_on(bench: Bench) -> None:
    await bench.ask(
        Entry(role="user", content="Begin."),
        Entry(role="assistant", tool_calls=(CallRequest(id="c1", name="lookup", arguments={}),)),
        Entry(role="tool", call_id="c1", content="found"),
    )
    body = bench.seen[0].body
    assert "cache_control" in body["messages"][-1]["content"][-1]
    assert marks(body) == 1


async def test_each_run_of_a_session_reads_what_the_one_before_it_wrote(bench: Bench) -> None:
    """From run to run, whether they use tools or not: a run pays in full for its question and the last answer only."""
    bench.play({"reply": {"text": "An answer. " * 100}})
    said: list[Entry] = []
    usages = []
    for turn in range(4):
        said.append(Entry(role="user", content=f"Question {turn}. " * 40))
        reply = await bench.ask(*said, system=LONG, tools=(LOOKUP,))
        usages.append(reply.usage)
        said.append(Entry(role="assistant", content=reply.text))
    assert [usage.cache_read_tokens > 0 for usage in usages] == [False, True, True, True]
    for before, usage in pairwise(usages[1:]):
        assert usage.cache_read_tokens > before.cache_read_tokens
        assert usage.cache_read_tokens + usage.cache_write_tokens + CACHE_MIN_TOKENS > usage.input_tokens


async def test_what_the_settings_say_of_every_call_is_on_the_wire(provider: ProviderName, simulator: Simulator) -> None:
    settings = settings_for(simulator, model_temperature=0.1, model_max_output_tokens=40)
    models = Models(settings)
    asked = ModelRequest(model="", system="s", entries=(Entry(role="user", content="hello"),))
    spec = f"{provider}:{MODEL_NAMES[provider]}"
    await models.complete(spec, asked._replace(max_output_tokens=900))
    await models.complete(spec, asked._replace(max_output_tokens=7))
    await models.close()
    bodies = [seen.body for seen in simulator.requests]
    limit = "max_tokens" if provider == "anthropic" else "max_completion_tokens"
    assert [(body["temperature"], body[limit]) for body in bodies] == [(0.1, 40), (0.1, 7)]


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_a_first_question_is_not_marked(bench: Bench) -> None:
    """Writing to the cache costs more than not: most runs ask once."""
    await bench.ask(Entry(role="user", content="Begin. " * 2_000))
    assert marks(bench.seen[0].body) == 0
