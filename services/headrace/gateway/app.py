"""The gateway's application: endpoints over injected ports, inside a boundary.

The endpoints that senders write to (webhooks, events, runs) are plain Starlette routes and are called right below it, with nothing
else around them (``DirectApp``); the rest is FastAPI.
"""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace import __version__
from headrace.gateway import (
    access,
    approvals,
    budgets,
    callbacks,
    history,
    openapi,
    operations,
    promotion,
    queries,
    replays,
    sessions,
    workflow_runs,
    workflows,
)
from headrace.gateway.a2a.door import A2aDoor
from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.agent_runs import AgentRuns
from headrace.gateway.approvals import ApprovalDecision
from headrace.gateway.callbacks import WaitCallback
from headrace.gateway.chat import Chat
from headrace.gateway.direct import DirectApp, PlainRoute
from headrace.gateway.doors import Doors
from headrace.gateway.events import Events
from headrace.gateway.handshakes import Handshakes
from headrace.gateway.limits import RateLimits
from headrace.gateway.mcp_door import McpDoor
from headrace.gateway.ports import Deps
from headrace.gateway.problems import HttpError, error_response
from headrace.gateway.run_cancel import RunCancel
from headrace.gateway.run_fork import RunFork
from headrace.gateway.run_requests import RunRequests
from headrace.gateway.run_start import RunStart
from headrace.gateway.run_streams import RunStreams
from headrace.gateway.waiting import Waiting
from headrace.gateway.webhooks import Webhooks

_DESCRIPTION = "Events and runs in, results out. A 202 means that the broker has acknowledged it."


def create_app(deps: Deps) -> FastAPI:
    """The ASGI application. ``close()`` of ``app.state.streams`` and ``.waiting`` ends what is open before a shutdown."""
    accepted = AcceptedRuns()
    streams, waiting = RunStreams(deps, accepted), Waiting(deps)
    limits = RateLimits(deps.settings, deps.sources, deps.monotonic)
    start = RunStart(deps, accepted, limits)
    doors = Doors(deps, accepted, start, waiting)
    requests, cancels = RunRequests(deps, start, waiting), RunCancel(deps, accepted)
    runs = AgentRuns(deps, accepted, requests, cancels, waiting)
    a2a = A2aDoor(deps, runs)
    writing = [
        PlainRoute("/webhooks/{source}", Webhooks(deps, limits).handle, methods=["POST"]),
        PlainRoute("/events", Events(deps, limits).handle, methods=["POST"]),
        PlainRoute("/v1/runs", requests.handle, methods=["POST"]),
        PlainRoute("/v1/runs/{run_id}/cancel", cancels.handle, methods=["POST"]),
        PlainRoute("/v1/runs/{run_id}/fork", RunFork(deps, accepted, limits).handle, methods=["POST"]),
        PlainRoute("/v1/approvals/{approval_id}/decision", ApprovalDecision(deps, limits).handle, methods=["POST"]),
        PlainRoute("/v1/waits/{wait_id}/callback", WaitCallback(deps, limits).handle, methods=["POST"]),
        PlainRoute("/agent", doors.ask, methods=["POST"]),
        PlainRoute("/agents/run", doors.run, methods=["POST"]),
        PlainRoute("/test/chat", Chat(deps, start, waiting).handle, methods=["POST"]),
        PlainRoute("/mcp", McpDoor(runs).handle, methods=["POST"]),
        PlainRoute("/a2a/{agent}", a2a.call, methods=["POST"]),
    ]
    app = DirectApp(
        writing,
        access.Guard(deps.authenticator, deps.tenant, deps.settings),
        dependencies=[Depends(access.guarded)],
        title="headrace gateway",
        version=__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        },  # ours is in ``Boundary``
    )
    app.state.streams, app.state.waiting = streams, waiting
    handshakes = Handshakes(deps)
    app.router.routes.append(PlainRoute("/webhooks/{source}", handshakes.get, methods=["GET"]))
    app.router.routes.append(PlainRoute("/webhooks/{source}", handshakes.options, methods=["OPTIONS"]))
    app.router.routes.append(PlainRoute("/events", handshakes.events, methods=["OPTIONS"]))
    app.router.routes.append(PlainRoute("/v1/runs/{run_id}/events", streams.handle, methods=["GET"]))
    app.router.routes.append(PlainRoute("/agents/status/{run_id}", doors.status, methods=["GET"]))
    app.router.routes.append(PlainRoute("/.well-known/agent-card.json", a2a.root_card, methods=["GET"]))
    app.router.routes.append(PlainRoute("/a2a/{agent}/.well-known/agent-card.json", a2a.card, methods=["GET"]))
    app.include_router(queries.router(deps, accepted, waiting))
    app.include_router(promotion.router(deps))
    app.include_router(approvals.router(deps))
    app.include_router(callbacks.router(deps))
    app.include_router(sessions.router(deps))
    app.include_router(budgets.router(deps))
    app.include_router(replays.router(deps))
    app.include_router(history.router(deps))
    app.include_router(workflows.router(deps, limits))
    app.include_router(workflow_runs.router(deps, limits))
    app.include_router(operations.router(deps))
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        app.openapi_schema = access.describe(openapi.complete(made))
    return app.openapi_schema


async def _http_exception(_request: Request, error: Exception) -> Response:
    """No such route, or not this method: in the one shape."""
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return error_response(HttpError(error.status_code, code, str(error.detail), headers=error.headers))


async def _invalid_request(_request: Request, error: Exception) -> Response:
    """A query parameter that is out of range."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = "/".join(str(part) for part in first["loc"])
    return error_response(HttpError(422, "request_schema", first["msg"], where=where))
