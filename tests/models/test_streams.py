"""Answers that come piece by piece, over both real wires: told as they come, and in the end the same as whole ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.models import ModelError, ModelReply
from headrace.models.arguments import malformed
from headrace.models.streams import AnthropicAssembly, OpenAIAssembly
from headrace.simulator.streaming import words
from tests.models.conftest import LOOKUP, Bench

TEXT = "Two words,\n\nthen  spaces; é, 漢字 and 🙂 at last. "
CALLS = [
    {"name": "lookup", "arguments": {"city": "Berlin", "n": [1, 2.5]}, "id": "c1"},
    {"name": "lookup", "arguments": {}, "id": "c2"},
]


class Told:
    """What a caller hears."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, str]] = []

    def __call__(self, position: int, text: str) -> None:
        self.pieces.append((position, text))

    @property
    def text(self) -> str:
        """As a reader puts it together: from position 0 on, anew each time."""
        text = ""
        for position, piece in self.pieces:
            text = text[:position] + piece
        return text


def same(streamed: ModelReply, whole: ModelReply) -> bool:
    """All but how long it took, and the id, which is made of the request."""
    neutral: dict[str, Any] = {"latency_ms": 0, "request_id": None}
    return streamed._replace(**neutral) == whole._replace(**neutral)


@pytest.mark.parametrize(
    "reply",
    [
        {"text": TEXT},
        {"text": TEXT, "tool_calls": CALLS},
        {"tool_calls": CALLS},
        {"text": "{", "usage": {"input_tokens": 3_000, "output_tokens": 100, "cache_read_tokens": 2_000}},
    ],
)
async def test_a_streamed_reply_is_the_whole_one_and_its_text_was_told(bench: Bench, reply: dict[str, Any]) -> None:
    bench.play({"reply": reply})
    whole = await bench.ask(tools=(LOOKUP,))
    told = Told()
    streamed = await bench.ask(tools=(LOOKUP,), on_text=told)
    assert same(streamed, whole)
    assert streamed.request_id is not None
    assert told.text == (reply.get("text") or "")
    assert [piece for _, piece in told.pieces] == words(reply.get("text") or "")
    assert bench.seen[0].body.get("stream") is None, "nobody pays for what nobody asked for"
    assert bench.seen[1].body["stream"] is True


async def test_text_is_told_before_the_answer_is_complete(bench: Bench) -> None:
    bench.play({"reply": {"text": "early late", "piece_ms": 50}})
    first = asyncio.Event()
    asking = asyncio.create_task(bench.ask(on_text=lambda _position, _text: first.set()))
    await first.wait()
    assert not asking.done()
    assert (await asking).text == "early late"


async def test_a_stream_that_breaks_off_is_asked_for_anew_from_position_0(bench: Bench) -> None:
    bench.play({"reply": {"text": TEXT, "fault": "cut"}, "times": 1}, {"reply": {"text": "Again."}})
    told = Told()
    reply = await bench.ask(on_text=told)
    assert (reply.text, reply.attempts) == ("Again.", 2)
    assert len(told.pieces) > 1
    assert told.pieces[-1] == (0, "Again.")
    assert told.text == "Again."


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"status": 429, "retry_after": 60}, "rate_limited"),
        ({"status": 401, "message": "no such key"}, "authentication"),
        ({"fault": "garbage"}, "bad_response"),
        ({"body": "event: message_start\ndata: {\n\n"}, "bad_response"),
        ({"body": "data: {}\n\ndata: [DONE]\n\n"}, "bad_response"),
    ],
)
async def test_failures_are_told_apart_as_without_a_stream(bench: Bench, reply: dict[str, Any], kind: str) -> None:
    bench.play({"reply": reply})
    told = Told()
    with pytest.raises(ModelError) as caught:
        await bench.ask(on_text=told)
    assert caught.value.kind == kind
    assert told.pieces == []


@pytest.mark.parametrize("provider", ["anthropic"])
async def test_an_error_in_the_middle_of_a_stream_has_its_own_kind(bench: Bench) -> None:
    error = '{"type":"error","error":{"type":"overloaded_error","message":"busy, planted-detail"}}'
    bench.play({"reply": {"body": f"event: error\ndata: {error}\n\n"}})
    with pytest.raises(ModelError) as caught:
        await bench.ask(on_text=Told())
    assert (caught.value.kind, caught.value.attempts) == ("overloaded", 4)


@pytest.mark.parametrize("provider", ["openai"])
async def test_malformed_arguments_are_marked_as_without_a_stream(bench: Bench) -> None:
    bench.play({"reply": {"tool_calls": [{"name": "lookup", "arguments": '{"city": "Ber'}]}})
    (call,) = (await bench.ask(tools=(LOOKUP,), on_text=Told())).tool_calls
    assert malformed(call.arguments) == '{"city": "Ber'


def test_malformed_arguments_of_the_other_wire() -> None:
    assembly = AnthropicAssembly()
    block = {"type": "tool_use", "id": "t", "name": "lookup", "input": {}}
    assembly.take({"type": "message_start", "message": {"usage": {}}})
    assembly.take({"type": "content_block_start", "index": 0, "content_block": block})
    delta = {"type": "input_json_delta", "partial_json": '{"city"'}
    assert assembly.take({"type": "content_block_delta", "index": 0, "delta": delta}) == ""
    assembly.take({"type": "message_stop"})
    assert malformed(assembly.whole()["content"][0]["input"]) == '{"city"'


@settings(max_examples=60)
@given(
    st.lists(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
)
@pytest.mark.parametrize("kind", [AnthropicAssembly, OpenAIAssembly])
def test_no_event_of_any_shape_is_more_than_unreadable(kind: Any, events: list[Any]) -> None:
    assembly = kind()
    for event in [*events, {"type": "content_block_delta"}, {"choices": [1]}]:
        with suppress(KeyError, IndexError, TypeError, ValueError, AttributeError):
            assert isinstance(assembly.take(event), str)
    with pytest.raises(ValueError, match="ended early"):
        assembly.whole()
