"""The short way to the endpoints that senders write to: from the server through the boundary straight to the handler.

What FastAPI has around an endpoint (middleware for errors, telemetry and body limits, an exit stack, its routing) took a third of a
webhook's time in the application, and does nothing for a handler that takes the request and gives a response: errors go to the
boundary either way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from headrace.gateway.access import GUARD, Guard
from headrace.gateway.boundary import Boundary

Handler = Callable[[Request], Awaitable[Response]]


class PlainRoute(Route):
    """A Starlette route that names itself in the scope, as FastAPI's own routes do: metrics are by route.

    Its parameters are text, without converters. The guard in the scope lets a request in, or the handler never sees it.
    """

    def __init__(self, path: str, handler: Handler, *, methods: list[str]) -> None:
        async def guarded(request: Request) -> Response:
            await request.scope[GUARD].check(request.scope)
            return await handler(request)

        super().__init__(path, guarded, methods=methods)
        self.handler = guarded

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


class DirectApp(FastAPI):
    """FastAPI within a boundary, except that a POST to one of ``writing`` goes to its handler, within a boundary of its own."""

    def __init__(self, writing: Sequence[PlainRoute], guard: Guard, **options: Any) -> None:
        super().__init__(**options)
        self._guard = guard
        self.router.routes[:0] = writing  # for the other methods, which are refused
        self.add_middleware(Boundary)
        self._writing = writing
        self._written = Boundary(_answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[GUARD] = self._guard
        if scope["type"] == "http" and scope["method"] == "POST":
            for route in self._writing:
                if found := route.path_regex.match(scope["path"]):
                    scope["route"], scope["path_params"] = route, found.groupdict()
                    await self._written(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    response = await scope["route"].handler(Request(scope, receive))
    await response(scope, receive, send)
