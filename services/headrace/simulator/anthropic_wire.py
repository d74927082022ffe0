"""The Anthropic wire: ``POST /v1/messages``, whole or as a stream."""

from __future__ import annotations

from typing import Any

import orjson

from headrace.simulator.conversation import Answer, BadRequest, CallAnswer, Conversation, Piece, Wire
from headrace.simulator.streaming import anthropic_frames

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def parse(body: dict[str, Any]) -> Conversation:
    """Raises BadRequest."""
    messages, model = body.get("messages"), body.get("model")
    if not isinstance(messages, list) or not messages or not isinstance(model, str):
        raise BadRequest("'model' and 'messages' are required")
    if not isinstance(body.get("max_tokens"), int):
        raise BadRequest("max_tokens: Field required")
    tools = body.get("tools") or []
    system = _blocks(body.get("system") or [])
    turns = [(_role(message), _blocks(message.get("content"))) for message in messages]
    _check_tool_results(turns)
    users = [text for role, blocks in turns if role == "user" and (text := _text(blocks))]
    return Conversation(
        wire="anthropic",
        model=model,
        system=_text(system),
        first_user=users[0] if users else "",
        last_user=users[-1] if users else "",
        last_tool=_last_tool(turns),
        turn=sum(role == "assistant" for role, _ in turns),
        tools_offered=bool(tools),
        streams=bool(body.get("stream")),
        pieces=tuple(_piece(part) for part in [*tools, *system, *(block for _, blocks in turns for block in blocks)]),
    )


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("user", "assistant"):
        raise BadRequest("messages: a role must be 'user' or 'assistant'")
    return str(role)


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise BadRequest("content must be a string or a list of blocks")
    if any(block.get("type") == "text" and not block.get("text") for block in content):
        raise BadRequest("text content blocks must be non-empty")
    return content


def _text(blocks: list[dict[str, Any]]) -> str:
    return "\n".join(block["text"] for block in blocks if block.get("type") == "text")


def _last_tool(turns: list[tuple[str, list[dict[str, Any]]]]) -> str:
    role, blocks = turns[-1]
    results = [block.get("content") for block in blocks if role == "user" and block.get("type") == "tool_result"]
    return "\n".join(content if isinstance(content, str) else orjson.dumps(content).decode() for content in results)


def _check_tool_results(turns: list[tuple[str, list[dict[str, Any]]]]) -> None:
    """As the provider does: all tool_use blocks of a turn are answered by tool_result blocks at the start of the next message."""
    open_calls: set[str] = set()
    for _, blocks in turns:
        results = {block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"}
        if results != open_calls:
            raise BadRequest("`tool_use` ids must have `tool_result` blocks immediately after, and only those")
        open_calls = {block["id"] for block in blocks if block.get("type") == "tool_use"}
    if open_calls:
        raise BadRequest("`tool_use` ids were found without `tool_result` blocks immediately after")


def _piece(part: dict[str, Any]) -> Piece:
    if "cache_control" not in part:
        return Piece(orjson.dumps(part))
    return Piece(orjson.dumps({key: value for key, value in part.items() if key != "cache_control"}), marked=True)


def render(answer: Answer) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    content += [_call(call) for call in answer.calls]
    tokens = answer.tokens
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": answer.stop_reason or ("tool_use" if answer.calls else "end_turn"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
            "output_tokens": tokens.output,
            "cache_read_input_tokens": tokens.cache_read,
            "cache_creation_input_tokens": tokens.cache_write,
        },
    }


def _call(call: CallAnswer) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}


def error(status: int, message: str, code: str | None) -> dict[str, Any]:
    kind = code or _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


ANTHROPIC = Wire("anthropic", "request-id", parse, render, anthropic_frames, error)
