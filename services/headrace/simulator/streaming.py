"""A whole answer as the stream that a provider would send it as: server-sent events, word by word. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

_WORDS = re.compile(r"\s*\S+|\s+$")


def anthropic_frames(body: dict[str, Any]) -> Iterator[bytes]:
    """Of a message: its blocks one after the other."""
    usage = body["usage"]
    start = body | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield _event("message_start", {"message": start})
    yield _event("ping", {})
    for index, block in enumerate(body["content"]):
        empty: dict[str, Any] = {"text": ""} if block["type"] == "text" else {"input": {}}
        yield _event("content_block_start", {"index": index, "content_block": block | empty})
        for delta in _deltas(block):
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    ended = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": ended, "usage": {"output_tokens": usage["output_tokens"]}})
    yield _event("message_stop", {})


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": piece} for piece in words(block["text"]))
    else:
        text = orjson.dumps(block["input"]).decode()
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in halves(text))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps({"type": name, **data}) + b"\n\n"


def openai_frames(body: dict[str, Any]) -> Iterator[bytes]:
    """Of a chat completion; the usage comes last, with no choice, as ``include_usage`` asks for."""
    [choice] = body["choices"]
    message = choice["message"]
    yield _chunk(body, {"role": "assistant", "content": ""})
    for piece in words(message["content"] or ""):
        yield _chunk(body, {"content": piece})
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield _chunk(body, {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]})
        for piece in halves(function["arguments"]):
            yield _chunk(body, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk(body, {}, choice["finish_reason"])
    yield _data({**_head(body), "choices": [], "usage": body["usage"]})
    yield b"data: [DONE]\n\n"


def _chunk(body: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _data({**_head(body), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": None})


def _head(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": body["id"], "object": "chat.completion.chunk", "created": body["created"], "model": body["model"]}


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def words(text: str) -> list[str]:
    """Joined they are the text again."""
    return _WORDS.findall(text)


def halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]
