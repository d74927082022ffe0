"""The OpenAI wire: ``POST /v1/chat/completions``, whole or as a stream."""

from __future__ import annotations

from typing import Any

import orjson

from headrace.simulator.conversation import Answer, BadRequest, CallAnswer, Conversation, Piece, Wire
from headrace.simulator.streaming import openai_frames

_TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 429: "rate_limit_error"}


def parse(body: dict[str, Any]) -> Conversation:
    """Raises BadRequest."""
    messages = body.get("messages")
    model = body.get("model")
    if not isinstance(messages, list) or not messages or not isinstance(model, str):
        raise BadRequest("'model' and 'messages' are required")
    tools = body.get("tools") or []
    roles = [_role(message) for message in messages]
    turn_ends = [index for index, role in enumerate(roles) if role == "assistant"]
    _check_tool_messages(messages)
    after = turn_ends[-1] + 1 if turn_ends else 0
    users = [_text(m) for m, role in zip(messages, roles, strict=True) if role == "user"]
    return Conversation(
        wire="openai",
        model=model,
        system="\n".join(_text(m) for m, role in zip(messages, roles, strict=True) if role in ("system", "developer")),
        first_user=users[0] if users else "",
        last_user=users[-1] if users else "",
        last_tool="\n".join(_text(m) for m in messages[after:] if m["role"] == "tool"),
        turn=len(turn_ends),
        tools_offered=bool(tools),
        streams=bool(body.get("stream")),
        pieces=tuple(Piece(orjson.dumps(part)) for part in ([tools] if tools else []) + messages),
    )


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str):
        raise BadRequest("a message needs a role")
    return role


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _check_tool_messages(messages: list[dict[str, Any]]) -> None:
    """As the provider does: every tool call is answered by a tool message right after it, and every tool message has its call."""
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise BadRequest("a message with role 'tool' must answer a preceding tool call")
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            raise BadRequest("tool calls must be followed by tool messages that answer each 'tool_call_id'")
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    if open_calls:
        raise BadRequest("tool calls must be followed by tool messages that answer each 'tool_call_id'")


def render(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        message["tool_calls"] = [_call(call) for call in answer.calls]
    finish = answer.stop_reason or ("tool_calls" if answer.calls else "stop")
    tokens = answer.tokens
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
        },
    }


def _call(call: CallAnswer) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call.arguments, str) else orjson.dumps(call.arguments).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def error(status: int, message: str, code: str | None) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


OPENAI = Wire("openai", "x-request-id", parse, render, openai_frames, error)
