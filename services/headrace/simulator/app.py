"""The simulator as a plain ASGI application: no framework, since benchmarks push thousands of requests a second through it.

    POST /v1/chat/completions     the OpenAI wire
    POST /v1/messages             the Anthropic wire
    GET  /simulator/stats         counts: total, by conversation
    GET  /simulator/requests      the newest requests, bodies included, credentials redacted
    POST /simulator/reset         forget requests, prefix cache and rule counts

A request passes: body -> wire.parse -> Player.rule_for -> PrefixCache.use -> answers.respond -> sleep -> send, whole or
piece by piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import blake2b
from typing import Any

import orjson

from headrace.simulator.answers import Response, respond
from headrace.simulator.anthropic_wire import ANTHROPIC
from headrace.simulator.conversation import BadRequest, Conversation, Wire
from headrace.simulator.log import Logged, RequestLog, redact_headers
from headrace.simulator.openai_wire import OPENAI
from headrace.simulator.prefix_cache import PrefixCache
from headrace.simulator.script import Player, Rule, Script

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_WIRES = {"/v1/chat/completions": OPENAI, "/v1/messages": ANTHROPIC}
_CUT_AFTER = b'{"id":"cut'


class SimulatorApp:
    """One simulator: its script being played, its prefix cache, its log of the newest ``keep`` requests."""

    def __init__(self, script: Script, *, keep: int) -> None:
        self.log = RequestLog(keep)
        self.play(script)

    def play(self, script: Script) -> None:
        """Start ``script`` from its beginning, with an empty prefix cache."""
        self._player = Player(script)
        self._cache = PrefixCache()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        wire = _WIRES.get(scope["path"])
        if wire is not None and scope["method"] == "POST":
            await self._model(wire, scope, receive, send)
        else:
            await _send(send, self._control(scope["method"], scope["path"]))

    async def _model(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await _read(receive)
        headers = redact_headers(scope["headers"])
        if "authorization" not in headers and "x-api-key" not in headers:
            await _send(send, _error(wire, 401, "no API key"))
            return
        try:
            body = orjson.loads(raw)
            conversation = wire.parse(body)
        except (orjson.JSONDecodeError, AttributeError):
            await _send(send, _error(wire, 400, "the body is not a JSON object"))
            return
        except BadRequest as error:
            await _send(send, _error(wire, 400, str(error)))
            return
        name, rule = self._player.rule_for(conversation)
        response = respond(wire, conversation, rule.reply, raw, self._cached(rule, conversation))
        self._log(conversation, name, rule.reply.status, headers, body, raw)
        latency_ms = self._player.script.latency_ms if rule.reply.latency_ms is None else rule.reply.latency_ms
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        await _deliver(response, receive, send)

    def _cached(self, rule: Rule, conversation: Conversation) -> tuple[int, int]:
        return self._cache.use(conversation) if rule.reply.status < 400 else (0, 0)

    def _log(
        self,
        conversation: Conversation,
        rule: str,
        status: int,
        headers: dict[str, str],
        body: dict[str, Any],
        raw: bytes,
    ) -> None:
        identity = "\0".join((conversation.wire, conversation.model, conversation.system, conversation.first_user))
        self.log.add(
            Logged(
                wire=conversation.wire,
                model=conversation.model,
                conversation=blake2b(identity.encode(), digest_size=8).hexdigest(),
                turn=conversation.turn,
                rule=rule,
                status=status,
                headers=headers,
                body=body,
                raw=raw,
            )
        )

    def _control(self, method: str, path: str) -> Response:
        if (method, path) == ("GET", "/simulator/stats"):
            return _json({"total": self.log.total, "by_conversation": self.log.by_conversation})
        if (method, path) == ("GET", "/simulator/requests"):
            fields = ("wire", "model", "conversation", "turn", "rule", "status", "headers", "body")
            return _json([{name: getattr(logged, name) for name in fields} for logged in self.log])
        if (method, path) == ("POST", "/simulator/reset"):
            self.log.clear()
            self.play(self._player.script)
            return _json({})
        return Response(404, b'{"error":{"message":"not found"}}', (("content-type", "application/json"),))


def _json(value: Any) -> Response:
    return Response(200, orjson.dumps(value), (("content-type", "application/json"),))


def _error(wire: Wire, status: int, message: str) -> Response:
    return Response(status, orjson.dumps(wire.error(status, message, None)), (("content-type", "application/json"),))


async def _read(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _deliver(response: Response, receive: Receive, send: Send) -> None:
    if response.fault == "hang":
        while (await receive())["type"] != "http.disconnect":
            pass
    elif response.frames:
        await _stream(send, response)
    elif response.fault == "cut":
        # More was promised than is sent: the server closes the connection when the application returns.
        await _start(send, response, length=10_000)
        await send({"type": "http.response.body", "body": _CUT_AFTER, "more_body": True})
    else:
        await _send(send, response)


async def _stream(send: Send, response: Response) -> None:
    """A cut one stops half way: the server closes the connection when the application returns."""
    await _start(send, response)
    frames = response.frames[: len(response.frames) // 2] if response.fault == "cut" else response.frames
    for frame in frames:
        if response.piece_ms:
            await asyncio.sleep(response.piece_ms / 1000)
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    if response.fault != "cut":
        await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, response: Response) -> None:
    await _start(send, response, length=len(response.body))
    await send({"type": "http.response.body", "body": response.body})


async def _start(send: Send, response: Response, *, length: int | None = None) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
