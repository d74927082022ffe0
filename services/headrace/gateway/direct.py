"""The short way to the endpoints that senders write to: from the boundary straight to the handler.

What FastAPI has in between (an exit stack, exception handlers, its routing) took a fifth of a webhook's time and does nothing for
a handler that takes the request and gives a response: errors go to the boundary either way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class PlainRoute(Route):
    """A Starlette route that names itself in the scope, as FastAPI's own routes do: metrics are by route."""

    def __init__(self, path: str, handler: Handler, *, methods: list[str]) -> None:
        super().__init__(path, handler, methods=methods)
        self.handler = handler

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


class Direct:
    """Middleware: a request that one of ``routes`` matches in full is answered here, any other one by ``app``."""

    def __init__(self, app: ASGIApp, routes: Sequence[PlainRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self._routes:
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    scope.update(child_scope)
                    response = await route.handler(Request(scope, receive))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
