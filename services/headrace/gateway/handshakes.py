"""What senders ask before they deliver, other than by POST: Meta's and X's GET, and the OPTIONS of CloudEvents.

Nobody signs these, so a source answers them only where its file says so. Everything else is 405, as without handshakes.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.body import header_map
from headrace.gateway.ports import Deps
from headrace.gateway.problems import HttpError
from headrace.gateway.sources.handshakes import Origin, Reply
from headrace.gateway.webhooks import answer, known_source
from headrace.observe.logging import get_logger

log = get_logger(__name__)


class Handshakes:
    """The endpoints."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._events = Origin(deps.settings.events_origins)

    async def get(self, request: Request) -> Response:
        """``GET /webhooks/{source}``"""
        name = request.path_params["source"]
        handshakes = known_source(self._deps, name).handshakes.gets
        if not handshakes:
            raise _not_allowed()
        query = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        reply = _first(handshake.get(query) for handshake in handshakes)
        if reply is None:
            log.warning("webhook_refused", source=name, reason="handshake")
            raise HttpError(403, "handshake", "not the handshake that this source makes, or its token is wrong")
        log.info("webhook_handshake", source=name)
        return answer(reply)

    async def options(self, request: Request) -> Response:
        """``OPTIONS /webhooks/{source}``"""
        origins = known_source(self._deps, request.path_params["source"]).handshakes.origins
        return _admitted(origin.options(header_map(request.scope)) for origin in origins)

    async def events(self, request: Request) -> Response:
        """``OPTIONS /events``"""
        return _admitted([self._events.options(header_map(request.scope))])


def _admitted(replies: Iterable[Reply | None]) -> Response:
    reply = _first(replies)
    if reply is None:
        raise _not_allowed()
    return answer(reply)


def _first(replies: Iterable[Reply | None]) -> Reply | None:
    return next((reply for reply in replies if reply is not None), None)


def _not_allowed() -> HttpError:
    return HttpError(405, "method_not_allowed", "Method Not Allowed", headers={"Allow": "POST"})
