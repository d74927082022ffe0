"""The outermost layer, in plain ASGI: a request id, metrics, and every error in the one shape.

An exception that nobody expected is logged with its trace under the request id; the caller learns the id and nothing else.
"""

from __future__ import annotations

import random
import re
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.gateway.problems import HttpError, error_response, from_headrace, internal_error
from headrace.messages.errors import HeadraceError
from headrace.observe import tracing
from headrace.observe.logging import get_logger
from headrace.observe.metrics import GATEWAY_REQUESTS, GATEWAY_SECONDS

log = get_logger(__name__)

REQUEST_ID: Final = b"x-request-id"
_ACCEPTABLE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CLIENT_GONE: Final = 499
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class Boundary:
    """Wrap the application in it. ``scope["route"]`` is the route that matched, if one did."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with _span(scope) as span:
            await self._serve(scope, receive, send, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, span: tracing.Span) -> None:
        started = time.perf_counter()
        answer = _Answer(send, _request_id(scope))
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = answer.status or _CLIENT_GONE
        except Exception as error:  # the boundary: nothing may leave in another shape
            await _answer_error(error, scope, receive, answer)
        finally:
            route = route_of(scope)
            GATEWAY_REQUESTS.labels(route, str(answer.status or _CLIENT_GONE)).inc()
            GATEWAY_SECONDS.labels(route).observe(time.perf_counter() - started)
            if tracing.enabled():
                _describe(span, scope, answer.status or _CLIENT_GONE)


class _Answer:
    """``send`` that adds the request id and remembers the status."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (REQUEST_ID, self.request_id),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)


async def _answer_error(error: Exception, scope: Scope, receive: Receive, answer: _Answer) -> None:
    problem = as_problem(error)
    if problem.status == 500:
        log.exception("request_failed", request_id=answer.request_id.decode(), route=route_of(scope))
    if answer.status:  # too late to say it: close the connection, so that the body is seen to be cut
        raise error
    await error_response(problem)(scope, receive, answer)


def _span(scope: Scope) -> AbstractContextManager[tracing.Span]:
    """The request's span, in the trace that its sender names. Probes have none."""
    if not tracing.enabled() or scope["path"] in _PROBES:
        return nullcontext(tracing.NO_SPAN)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return tracing.span(_method(scope), tracing.SpanKind.SERVER, parent=tracing.remote(headers))


def _describe(span: tracing.Span, scope: Scope, status: int) -> None:
    """By route and never by path or query, which may hold whatever a sender puts there."""
    method, route = _method(scope), route_of(scope)
    span.update_name(f"{method} {route}")
    facts = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    tracing.describe(span, facts | {"url.scheme": scope.get("scheme", "http")})
    if status >= 500:
        tracing.fail(span, str(status))


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "_OTHER"


def as_problem(error: Exception) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, HeadraceError):
        return from_headrace(error)
    return internal_error()


def _request_id(scope: Scope) -> bytes:
    """The caller's, if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _ACCEPTABLE_ID.fullmatch(value):
            return bytes(value)
    return b"%032x" % random.getrandbits(128)


def route_of(scope: Scope) -> str:
    """The route's template: bounded, unlike paths."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
