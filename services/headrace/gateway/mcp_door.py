"""``POST /mcp``: the gateway as an MCP server (streamable HTTP, without sessions: every request stands by itself).

Whoever may call it was decided before the handler, by the one table of permissions. Browsers may not: a page of another site must
not reach a mesh on somebody's machine (the protocol asks servers to look at Origin).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from headrace.gateway.agent_runs import AgentRuns
from headrace.gateway.body import header_map, is_json, read_body
from headrace.gateway.problems import HttpError, from_headrace
from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

T = TypeVar("T")
MAX_BODY: Final = 1_000_000


class McpDoor:
    """The endpoint. The protocol's package is loaded by the first call: few gateways need it, and it takes a second."""

    def __init__(self, runs: AgentRuns) -> None:
        self._runs = runs

    async def handle(self, request: Request) -> Response:
        if "origin" in request.headers:
            raise HttpError(403, "forbidden", "not for browsers", where="origin")
        headers = header_map(request.scope)
        if not is_json(headers.get("content-type", "")):
            raise HttpError(415, "content_type", "the content type must be application/json", where="content-type")
        body = await read_body(request, headers, MAX_BODY)
        from headrace.mcp.serving import server

        return _Answer(server(_Mesh(self._runs, headers)), body)


class _Answer(Response):
    """The protocol's own answer to a request."""

    def __init__(self, server: Server[Any], body: bytes) -> None:
        super().__init__()
        self._server = server
        self._unread: bytes | None = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        async def read_already() -> Message:
            body, self._unread = self._unread, None
            return await receive() if body is None else {"type": "http.request", "body": body, "more_body": False}

        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, read_already, send)


class _Mesh:
    """``mcp.serving.Mesh`` over the gateway's own runs."""

    def __init__(self, runs: AgentRuns, headers: Mapping[str, str]) -> None:
        self._runs = runs
        self._headers = headers

    async def agents(self) -> list[JsonObject]:
        return await _told(self._agents())

    async def _agents(self) -> list[JsonObject]:
        return [
            {
                "name": agent.name,
                "version": agent.version,
                "description": agent.description,
                "input_schema": agent.input_schema,
            }
            for agent in self._runs.agents()
        ]

    async def run(self, request: JsonObject, wait_s: float) -> JsonObject:
        return await _told(self._runs.start(request, self._headers, wait_s))

    async def get(self, run_id: str) -> JsonObject:
        return await _told(self._runs.get(run_id))

    async def cancel(self, run_id: str) -> JsonObject:
        await _told(self._runs.cancel(run_id))
        return {"run_id": run_id, "state": "cancelling"}


async def _told(work: Awaitable[T]) -> T:
    """Refusals as the caller's tool reads them. What nobody expected stays an error of the server."""
    from headrace.mcp.serving import CallFailed

    try:
        return await work
    except HttpError as error:
        raise CallFailed(f"{error.code}: {error.placed}") from None
    except HeadraceError as error:
        problem = from_headrace(error)
        raise CallFailed(f"{problem.code}: {problem.placed}") from None
