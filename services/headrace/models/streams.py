"""Answers that come piece by piece: each piece of text is told as it comes, and all are put together into the very body that would
have come whole, so that nothing after this knows the difference.

The client libraries split the stream into events; these come as plain JSON. A stream that ends before its end, or makes no sense,
is an answer that can't be read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

import httpx2
import orjson

from headrace.models import OnText
from headrace.models.arguments import parse

_UNREADABLE: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError)


class Assembly(Protocol):
    """The answer so far. Both methods raise ``KeyError``, ``TypeError``, ``ValueError`` or the like for what is no answer."""

    def take(self, event: Any) -> str:
        """Add an event; the text in it."""
        ...

    def whole(self) -> dict[str, Any]:
        """The body. Raises ``ValueError`` where the end is missing."""
        ...


class Stream(Protocol):
    """What both libraries' ``AsyncStream`` are."""

    response: httpx2.Response

    def __aiter__(self) -> AsyncIterator[Any]: ...

    async def close(self) -> None: ...


async def collected(stream: Stream, assembly: Assembly, on_text: OnText) -> httpx2.Response:
    """The whole answer as a response; without content where it can't be read. Raises what the library raises."""
    content, position = b"", 0
    try:
        async for event in stream:
            if text := assembly.take(event):
                on_text(position, text)
                position += len(text)
        content = orjson.dumps(assembly.whole())
    except _UNREADABLE:
        pass  # the caller finds no answer in it
    finally:
        await stream.close()
    kept = {name: value for name, value in stream.response.headers.items() if name.endswith("request-id")}
    return httpx2.Response(stream.response.status_code, headers=kept, content=content)


class AnthropicAssembly:
    """Events of the Messages API."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._ended = False

    def take(self, event: Any) -> str:
        match event["type"]:
            case "message_start":
                self._message = event["message"]
            case "content_block_start":
                self._blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                return self._delta(event["index"], event["delta"])
            case "message_delta":
                self._message |= event["delta"]
                self._message["usage"] |= event.get("usage") or {}
            case "message_stop":
                self._ended = True
        return ""

    def _delta(self, index: int, delta: dict[str, Any]) -> str:
        if delta["type"] == "input_json_delta":
            self._arguments.setdefault(index, []).append(delta["partial_json"])
        if delta["type"] != "text_delta":
            return ""
        text: str = delta["text"]
        self._blocks[index]["text"] += text
        return text

    def whole(self) -> dict[str, Any]:
        if not self._ended:
            raise ValueError("the stream ended early")
        for index, pieces in self._arguments.items():
            self._blocks[index]["input"] = parse("".join(pieces))
        return self._message | {"content": [self._blocks[index] for index in sorted(self._blocks)]}


class OpenAIAssembly:
    """Chunks of a chat completion; of several choices the first."""

    def __init__(self) -> None:
        self._body: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {"content": [], "refusal": []}
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish: str | None = None

    def take(self, event: Any) -> str:
        self._body |= {name: event[name] for name in ("id", "model", "usage") if event.get(name)}
        text = ""
        for choice in event.get("choices") or ():
            if choice.get("index", 0) == 0:
                text += self._delta(choice.get("delta") or {})
                self._finish = choice.get("finish_reason") or self._finish
        return text

    def _delta(self, delta: dict[str, Any]) -> str:
        told = ""
        for name, pieces in self._texts.items():
            if piece := delta.get(name):
                pieces.append(piece)
                told += piece
        for part in delta.get("tool_calls") or ():
            call = self._calls.setdefault(part.get("index", 0), {"function": {"name": "", "arguments": ""}})
            call["id"] = part.get("id") or call.get("id")
            function = part.get("function") or {}
            call["function"]["name"] += function.get("name") or ""
            call["function"]["arguments"] += function.get("arguments") or ""
        return told

    def whole(self) -> dict[str, Any]:
        if self._finish is None:
            raise ValueError("the stream ended early")
        message: dict[str, Any] = {name: "".join(pieces) or None for name, pieces in self._texts.items()}
        message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return self._body | {"choices": [{"message": message, "finish_reason": self._finish}]}
