"""Entries to the OpenAI chat completions wire and back. Pure: no I/O, and the same request gives the same bytes.

The provider caches prefixes by itself, so all that is needed is that system text and tools are the same bytes on every turn, and
that the conversation only grows at its end.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from headrace.messages.run import CallRequest, Entry, Usage
from headrace.models import ModelRequest
from headrace.models.arguments import parse
from headrace.models.settings import ModelSettings

_STOP: Final = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


def to_wire(request: ModelRequest, settings: ModelSettings, reasoning_effort: str | None) -> dict[str, Any]:
    """The body of ``POST /chat/completions``, as keyword arguments of the client."""
    messages = [{"role": "system", "content": request.system}] if request.system.strip() else []
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages + [_MESSAGE[entry.role](entry) for entry in request.entries],
        settings.openai_max_tokens_field: request.max_output_tokens,
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in sorted(request.tools, key=lambda tool: tool.name)
        ]
    elif request.output_schema and settings.openai_json_mode:
        body["response_format"] = {"type": "json_object"}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    return body | ({"reasoning_effort": reasoning_effort} if reasoning_effort else {})


def _user(entry: Entry) -> dict[str, Any]:
    return {"role": "user", "content": entry.content or ""}


def _assistant(entry: Entry) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": entry.content}
    if entry.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
            }
            for call in entry.tool_calls
        ]
    elif entry.content is None:
        message["content"] = ""
    return message


def _result(entry: Entry) -> dict[str, Any]:
    """This wire has no error flag: the content says what failed."""
    return {"role": "tool", "tool_call_id": entry.call_id, "content": entry.content or ""}


_MESSAGE: Final = {"user": _user, "assistant": _assistant, "tool": _result}


def from_wire(
    body: dict[str, Any], request_chars: int
) -> tuple[str | None, tuple[CallRequest, ...], Usage, str, str | None]:
    """(text, tool calls, usage without cost, model, stop reason) of a response body.

    ``request_chars`` is the size of the request: servers that report no usage are charged an estimate, or limits would not bind.

    Raises:
        KeyError, IndexError, TypeError, ValueError, AttributeError: it is not a chat completion.
    """
    choice = body["choices"][0]
    message = choice["message"]
    calls = tuple(
        CallRequest.checked(
            {
                "id": call.get("id") or f"{body.get('id', 'call')}_{index}",
                "name": call["function"]["name"],
                "arguments": parse(call["function"].get("arguments") or ""),
            }
        )
        for index, call in enumerate(message.get("tool_calls") or ())
    )
    refusal = message.get("refusal")
    text = message.get("content") or refusal or None
    if text is not None and not isinstance(text, str):
        raise TypeError("content is not text")
    stop = choice.get("finish_reason") or "stop"
    usage = _usage(body.get("usage"), request_chars, len(orjson.dumps(message)))
    return text, calls, usage, str(body.get("model") or ""), "refusal" if refusal else _STOP.get(stop, stop)


def _usage(usage: dict[str, Any] | None, request_chars: int, reply_chars: int) -> Usage:
    if usage is None:
        return Usage(input_tokens=request_chars // 4, output_tokens=reply_chars // 4, model_calls=1)
    details = usage.get("prompt_tokens_details") or {}
    return Usage.checked(
        {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "cache_read_tokens": details.get("cached_tokens") or 0,
            "cache_write_tokens": details.get("cache_write_tokens") or 0,
            "model_calls": 1,
        }
    )
