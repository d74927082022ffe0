"""From a matched rule to what goes on the wire: the turn, its usage, or an error body.

Pure: the same request and the same rule give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from headrace.simulator.conversation import Answer, CallAnswer, Conversation, Tokens, Wire
from headrace.simulator.instances import answer_for
from headrace.simulator.script import Reply

_GARBAGE = b"<html>\xff\xfe not what you asked for"
_ECHO_CHARS = 200


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. ``fault`` is None, ``cut`` or ``hang``. With ``frames`` these are its body, ``piece_ms`` apart."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    fault: str | None = None
    frames: tuple[bytes, ...] = ()
    piece_ms: float = 0.0


def respond(wire: Wire, conversation: Conversation, reply: Reply, raw: bytes, cached: tuple[int, int]) -> Response:
    """``cached``: tokens (read, written) that the prefix cache reports."""
    digest = blake2b(raw, digest_size=12).hexdigest()
    frames = _frames(wire, conversation, reply, digest, cached)
    headers = [
        ("content-type", "text/event-stream" if frames else "application/json"),
        (wire.request_id_header, f"req_{digest}"),
    ]
    if reply.retry_after is not None:
        value = reply.retry_after
        headers.append(("retry-after", f"{value:g}" if isinstance(value, float) else value))
    headers += reply.headers.items()
    body = b"" if frames else _body(wire, conversation, reply, digest, cached)
    return Response(reply.status, body, tuple(headers), _fault(reply), frames, reply.piece_ms)


def _frames(
    wire: Wire, conversation: Conversation, reply: Reply, digest: str, cached: tuple[int, int]
) -> tuple[bytes, ...]:
    """The stream, where one is asked for and nothing else is scripted."""
    if not conversation.streams or reply.status >= 400 or reply.body is not None or reply.fault == "garbage":
        return ()
    return tuple(wire.frames(wire.render(_answer(conversation, reply, digest, cached))))


def _fault(reply: Reply) -> str | None:
    return reply.fault if reply.fault in ("cut", "hang") else None


def _body(wire: Wire, conversation: Conversation, reply: Reply, digest: str, cached: tuple[int, int]) -> bytes:
    if reply.fault == "garbage":
        return _GARBAGE
    if reply.body is not None:
        return reply.body.encode()
    if reply.status >= 400:
        message = reply.message or f"simulated error {reply.status}"
        return orjson.dumps(wire.error(reply.status, message, reply.code))
    return orjson.dumps(wire.render(_answer(conversation, reply, digest, cached)))


def _answer(conversation: Conversation, reply: Reply, digest: str, cached: tuple[int, int]) -> Answer:
    text = default_text(conversation) if reply.is_default else reply.content
    calls = tuple(
        CallAnswer(call.id or f"call_{digest}_{index}", call.name, call.arguments)
        for index, call in enumerate(reply.tool_calls)
    )
    return Answer(
        id=digest,
        model=conversation.model,
        text=text,
        calls=calls,
        tokens=_tokens(conversation, reply, text, calls, cached),
        stop_reason=reply.stop_reason,
    )


def default_text(conversation: Conversation) -> str:
    """An instance of the schema in the prompt (user message first, then system), else an echo."""
    found = answer_for(conversation.last_user) or answer_for(conversation.system)
    return found or f"echo: {conversation.last_user[:_ECHO_CHARS]}"


def _tokens(
    conversation: Conversation, reply: Reply, text: str | None, calls: tuple[CallAnswer, ...], cached: tuple[int, int]
) -> Tokens:
    given = reply.usage
    size = len(text or "") + sum(len(call.name) + _size(call.arguments) for call in calls)
    return Tokens(
        input=_or(given.input_tokens, sum(piece.tokens for piece in conversation.pieces)),
        output=_or(given.output_tokens, max(1, size // 4)),
        cache_read=_or(given.cache_read_tokens, cached[0]),
        cache_write=_or(given.cache_write_tokens, cached[1]),
    )


def _size(arguments: dict[str, Any] | str) -> int:
    return len(arguments) if isinstance(arguments, str) else len(orjson.dumps(arguments))


def _or(given: int | None, counted: int) -> int:
    return counted if given is None else given
