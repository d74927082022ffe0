"""Entries to the Anthropic Messages wire and back. Pure: no I/O, and the same request gives the same bytes.

The wire alternates user and assistant messages and wants all results of a turn's calls in the one user message after it, results
first. The stable prefix comes in the order in which the provider caches it: tools, system, then messages. Two cache marks: at the
end of the stable prefix when that is long enough to be cached at all, and, once a conversation goes on (through tools, or from run
to run of a session), at its end, so that each turn pays in full only for what is new.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from headrace.messages.run import CallRequest, Entry, Usage
from headrace.models import ModelRequest
from headrace.models.arguments import checked

CACHE_MIN_TOKENS: Final = 1_024
_MARK: Final = {"type": "ephemeral"}
_EMPTY: Final = "(empty)"  # the wire refuses blank text
_STOP: Final = {"model_context_window_exceeded": "max_tokens", "stop_sequence": "end_turn"}


def to_wire(request: ModelRequest, thinking: dict[str, str] | None) -> dict[str, Any]:
    """The body of ``POST /v1/messages``, as keyword arguments of the client."""
    tools = [
        _tool(tool.name, tool.description, tool.parameters) for tool in sorted(request.tools, key=lambda t: t.name)
    ]
    system: list[dict[str, Any]] = [{"type": "text", "text": request.system}] if request.system.strip() else []
    messages = _messages(request.entries)
    if prefix_tokens(request.system, tools) >= CACHE_MIN_TOKENS:
        (system or tools)[-1]["cache_control"] = _MARK
    if any(entry.role != "user" for entry in request.entries):
        messages[-1]["content"][-1]["cache_control"] = _MARK
    body: dict[str, Any] = {"model": request.model, "max_tokens": request.max_output_tokens}
    body |= {"tools": tools} if tools else {}
    body |= {"system": system} if system else {}
    body |= {"thinking": thinking} if thinking else {}
    body |= {"temperature": request.temperature} if request.temperature is not None else {}
    return body | {"messages": messages}


def prefix_tokens(system: str, tools: list[dict[str, Any]]) -> int:
    """An estimate of the stable prefix: characters / 4."""
    return (len(system) + (len(orjson.dumps(tools)) if tools else 0)) // 4


def _tool(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": description, "input_schema": parameters}


def _messages(entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for entry in entries:
        role = "assistant" if entry.role == "assistant" else "user"
        blocks = _BLOCKS[entry.role](entry)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": role, "content": blocks})
    return messages


def _user(entry: Entry) -> list[dict[str, Any]]:
    text = entry.content or ""
    return [{"type": "text", "text": text if text.strip() else _EMPTY}]


def _assistant(entry: Entry) -> list[dict[str, Any]]:
    text = entry.content or ""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text.rstrip()}] if text.strip() else []
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in entry.tool_calls
    ]


def _result(entry: Entry) -> list[dict[str, Any]]:
    text = entry.content or ""
    block = {"type": "tool_result", "tool_use_id": entry.call_id, "content": text if text.strip() else _EMPTY}
    return [{**block, "is_error": True} if entry.is_error else block]


_BLOCKS: Final = {"user": _user, "assistant": _assistant, "tool": _result}


def from_wire(body: dict[str, Any]) -> tuple[str | None, tuple[CallRequest, ...], Usage, str, str | None]:
    """(text, tool calls, usage without cost, model, stop reason) of a response body.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not a message.
    """
    texts: list[str] = []
    calls: list[CallRequest] = []
    for block in body["content"]:
        if block["type"] == "text":
            texts.append(block["text"])
        elif block["type"] == "tool_use":
            call_id = block.get("id") or f"{body.get('id', 'call')}_{len(calls)}"
            call = {"id": call_id, "name": block["name"], "arguments": checked(block["input"])}
            calls.append(CallRequest.checked(call))
    stop = body.get("stop_reason") or "end_turn"
    return (
        "".join(texts) or None,
        tuple(calls),
        _usage(body["usage"]),
        str(body.get("model") or ""),
        _STOP.get(stop, stop),
    )


def _usage(usage: dict[str, Any]) -> Usage:
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    return Usage.checked(
        {
            "input_tokens": usage["input_tokens"] + read + written,
            "output_tokens": usage["output_tokens"],
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "model_calls": 1,
        }
    )
