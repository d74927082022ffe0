"""Both real clients over HTTP: what goes out, and what comes back."""

from __future__ import annotations

import asyncio

import pytest

from headrace.messages.run import CallRequest, Entry
from headrace.models.arguments import malformed
from tests.models.conftest import LOOKUP, MODEL_NAMES, Bench

TWO_CALLS = (
    CallRequest(id="c1", name="lookup", arguments={"city": "Berlin"}),
    CallRequest(id="c2", name="lookup", arguments={"city": "Oslo"}),
)
AFTER_TOOLS = (
    Entry(role="user", content="Compare them."),
    Entry(role="assistant", content="Looking.", tool_calls=TWO_CALLS),
    Entry(role="tool", call_id="c1", tool="lookup", content='{"people":3}'),
    Entry(role="tool", call_id="c2", tool="lookup", content="no such city", is_error=True),
)


async def test_text(bench: Bench) -> None:
    bench.play({"match": {"last_user": "hello", "system": "briefly"}, "reply": {"text": "Hi."}})
    reply = await bench.ask()
    assert (reply.text, reply.tool_calls, reply.stop_reason, reply.attempts) == ("Hi.", (), "end_turn", 1)
    assert reply.model == f"{bench.provider}:{MODEL_NAMES[bench.provider]}"
    assert reply.request_id is not None
    assert reply.request_id.startswith("req_")


async def test_parallel_tool_calls(bench: Bench) -> None:
    calls = [{"name": "lookup", "arguments": {"city": c}, "id": i} for c, i in (("Berlin", "c1"), ("Oslo", "c2"))]
    bench.play({"match": {"tools": True}, "reply": {"text": "Looking.", "tool_calls": calls}})
    reply = await bench.ask(tools=(LOOKUP,))
    assert reply.tool_calls == TWO_CALLS
    assert (reply.text, reply.stop_reason) == ("Looking.", "tool_use")


async def test_tool_results_are_accepted_and_read(bench: Bench) -> None:
    """The simulator refuses, as the providers do, a conversation whose calls and results don't pair up."""
    bench.play({"match": {"turn": 1, "last_tool": "no such city"}, "reply": {"text": "Only Berlin."}})
    reply = await bench.ask(*AFTER_TOOLS, tools=(LOOKUP,))
    assert reply.text == "Only Berlin."


async def test_unanswered_call_is_a_bad_request(bench: Bench) -> None:
    with pytest.raises(Exception, match="HTTP 400") as caught:
        await bench.ask(*AFTER_TOOLS[:-1], tools=(LOOKUP,))
    assert caught.value.kind == "bad_request"  # type: ignore[attr-defined]


async def test_repeated_call_ids_are_told_apart(bench: Bench) -> None:
    calls = [{"name": "lookup", "arguments": {}, "id": "same"}] * 2
    bench.play({"reply": {"tool_calls": calls}})
    reply = await bench.ask(tools=(LOOKUP,))
    assert [call.id for call in reply.tool_calls] == ["same", "same_1"]


async def test_cut_answer_says_max_tokens(bench: Bench) -> None:
    bench.play({"reply": {"text": "{", "stop_reason": "max_tokens" if bench.provider == "anthropic" else "length"}})
    assert (await bench.ask()).stop_reason == "max_tokens"


async def test_usage_counts_all_input_and_costs(bench: Bench) -> None:
    usage = {"input_tokens": 3_000, "output_tokens": 100, "cache_read_tokens": 2_000, "cache_write_tokens": 400}
    bench.play({"reply": {"text": "ok", "usage": usage}})
    used = (await bench.ask()).usage
    assert (used.input_tokens, used.output_tokens, used.model_calls) == (3_000, 100, 1)
    assert (used.cache_read_tokens, used.cache_write_tokens) == (2_000, 400)
    # both models: $0.10 input, $0.01 cache read, $0.125 cache write, $0.50 output per million tokens
    assert used.cost_usd == pytest.approx((600 * 0.1 + 2_000 * 0.01 + 400 * 0.125 + 100 * 0.5) / 1e6)


async def test_unknown_model_costs_nothing(bench: Bench) -> None:
    usage = (await bench.ask(model="house-model-7b")).usage
    assert usage.input_tokens > 0
    assert usage.cost_usd == 0


async def test_tools_are_sent_in_one_order(bench: Bench) -> None:
    other = type(LOOKUP)("archive", "Another.", {"type": "object", "properties": {}})
    await bench.ask(tools=(LOOKUP, other))
    await bench.ask(tools=(other, LOOKUP))
    assert bench.seen[0].raw == bench.seen[1].raw


async def test_blank_texts_are_accepted(bench: Bench) -> None:
    entries = (
        Entry(role="user", content=" "),
        Entry(role="assistant", tool_calls=TWO_CALLS[:1]),
        Entry(role="tool", call_id="c1", content=""),
        Entry(role="assistant", content=""),
        Entry(role="user", content="go on"),
    )
    assert (await bench.ask(*entries, tools=(LOOKUP,))).text == "echo: go on"


async def test_calls_run_at_the_same_time(bench: Bench) -> None:
    """More in flight than the client libraries' defaults keep alive; all are answered by their own reply."""
    replies = await asyncio.gather(*(bench.ask(Entry(role="user", content=f"n{n}.")) for n in range(150)))
    assert [reply.text for reply in replies] == [f"echo: n{n}." for n in range(150)]


@pytest.mark.parametrize("provider", ["openai"])
@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"city": "Ber', '{"city": "Ber'),
        ("[1]", "[1]"),
        ('{"a":1,"a":2}', '{"a":1,"a":2}'),
        ('{"n":' + "9" * 400 + "}", '{"n":' + "9" * 400 + "}"),
        ("[" * 100_000, "[" * 1_000),
    ],
)
async def test_malformed_arguments_are_marked(bench: Bench, arguments: str, kept: str) -> None:
    bench.play({"reply": {"tool_calls": [{"name": "lookup", "arguments": arguments}]}})
    (call,) = (await bench.ask(tools=(LOOKUP,))).tool_calls
    assert malformed(call.arguments) == kept


@pytest.mark.parametrize("provider", ["openai"])
async def test_blank_arguments_are_none(bench: Bench) -> None:
    bench.play({"reply": {"tool_calls": [{"name": "now", "arguments": ""}]}})
    (call,) = (await bench.ask(tools=(LOOKUP,))).tool_calls
    assert (call.arguments, malformed(call.arguments)) == ({}, None)


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_arguments_that_are_no_object_are_marked(bench: Bench) -> None:
    block = '{"type":"tool_use","id":"t1","name":"lookup","input":[1,2]}'
    usage = '"usage":{"input_tokens":1,"output_tokens":1}'
    bench.play({"reply": {"body": f'{{"id":"m","model":"claude-haiku-5-5","content":[{block}],{usage}}}'}})
    (call,) = (await bench.ask(tools=(LOOKUP,))).tool_calls
    assert malformed(call.arguments) == "[1,2]"


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_parallel_results_share_one_message(bench: Bench) -> None:
    await bench.ask(*AFTER_TOOLS, Entry(role="user", content="Well?"), tools=(LOOKUP,))
    messages = bench.seen[0].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [block["type"] for block in messages[2]["content"]] == ["tool_result", "tool_result", "text"]
    assert [block.get("is_error", False) for block in messages[2]["content"][:2]] == [False, True]


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_thinking_blocks_are_not_the_answer(bench: Bench) -> None:
    content = '[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"yes"}]'
    body = f'{{"model":"claude-haiku-5-5","content":{content},"usage":{{"input_tokens":1,"output_tokens":1}}}}'
    bench.play({"reply": {"body": body}})
    assert (await bench.ask()).text == "yes"


@pytest.mark.parametrize("provider", ["openai"])
async def test_refusal_is_the_text(bench: Bench) -> None:
    message = '{"role":"assistant","content":null,"refusal":"I will not."}'
    bench.play({"reply": {"body": f'{{"model":"m","choices":[{{"message":{message},"finish_reason":"stop"}}]}}'}})
    reply = await bench.ask()
    assert (reply.text, reply.stop_reason) == ("I will not.", "refusal")


@pytest.mark.parametrize("provider", ["openai"])
async def test_missing_usage_is_estimated(bench: Bench) -> None:
    """Compatible servers may report none; token limits must bind all the same."""
    bench.play({"reply": {"body": '{"choices":[{"message":{"content":"' + "x" * 400 + '"},"finish_reason":"stop"}]}'}})
    usage = (await bench.ask(Entry(role="user", content="y" * 4_000))).usage
    assert usage.input_tokens > 1_000
    assert usage.output_tokens >= 100
