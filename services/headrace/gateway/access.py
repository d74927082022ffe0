"""Who may call what: the one table of permissions, and the check that stands before every endpoint.

A route that is not in the table answers 403 to everybody, and a test holds the table against the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from fastapi import Request
from starlette.types import Scope

from headrace.auth import Principal, Refused, Role, callbacks
from headrace.auth.authenticator import Authenticator
from headrace.gateway.compare import digest, same_as_any
from headrace.gateway.problems import HttpError
from headrace.gateway.settings import GatewaySettings
from headrace.observe.logging import get_logger

log = get_logger(__name__)
GUARD: Final = "headrace.guard"  # key in the scope
_PRINCIPAL: Final = "headrace.principal"  # likewise: who asks
_NOBODY: Final = "unauthenticated"  # who decides where no credential is asked for


class Door(Enum):
    """What asks for no credential of the mesh."""

    OPEN = "open"  # says nothing that a stranger may not know
    SENDER = "sender"  # the endpoint verifies its sender itself


Need = Door | Role

ACCESS: Final[Mapping[tuple[str, str], Need]] = {
    ("POST", "/webhooks/{source}"): Door.SENDER,
    ("GET", "/webhooks/{source}"): Door.SENDER,
    ("OPTIONS", "/webhooks/{source}"): Door.SENDER,
    ("OPTIONS", "/events"): Door.OPEN,  # says whether an origin is listed
    ("POST", "/events"): Role.DEVELOPER,
    ("POST", "/agent"): Role.DEVELOPER,
    ("POST", "/agents/run"): Role.DEVELOPER,
    ("POST", "/test/chat"): Role.DEVELOPER,
    ("GET", "/agents/status/{run_id}"): Role.VIEWER,
    ("POST", "/mcp"): Role.DEVELOPER,
    ("POST", "/a2a/{agent}"): Role.DEVELOPER,
    ("GET", "/a2a/{agent}/.well-known/agent-card.json"): Role.VIEWER,
    ("GET", "/.well-known/agent-card.json"): Role.VIEWER,
    ("POST", "/v1/runs"): Role.DEVELOPER,
    ("GET", "/v1/runs"): Role.VIEWER,
    ("GET", "/v1/runs/{run_id}"): Role.VIEWER,
    ("GET", "/v1/runs/{run_id}/events"): Role.VIEWER,
    ("POST", "/v1/runs/{run_id}/cancel"): Role.DEVELOPER,
    ("POST", "/v1/runs/{run_id}/fork"): Role.DEVELOPER,
    ("GET", "/v1/runs/{run_id}/diff/{other}"): Role.VIEWER,
    ("GET", "/v1/approvals"): Role.VIEWER,
    ("GET", "/v1/approvals/{approval_id}"): Role.VIEWER,
    ("POST", "/v1/approvals/{approval_id}/decision"): Role.ADMIN,  # who starts runs must not approve what they do
    ("GET", "/v1/waits"): Role.VIEWER,
    ("GET", "/v1/waits/{wait_id}"): Role.VIEWER,
    ("POST", "/v1/waits/{wait_id}/callback"): Role.DEVELOPER,  # or the wait's own token
    ("GET", "/v1/results/{ref}"): Role.VIEWER,
    ("GET", "/v1/agents"): Role.VIEWER,
    ("GET", "/v1/agents/{name}"): Role.VIEWER,
    ("POST", "/v1/agents/{name}:promote"): Role.ADMIN,  # what is live answers for everybody
    ("POST", "/v1/agents/{name}:rollback"): Role.ADMIN,
    ("GET", "/v1/usage"): Role.VIEWER,
    ("GET", "/v1/sessions"): Role.VIEWER,
    ("GET", "/v1/sessions/{session_id}"): Role.VIEWER,
    ("GET", "/v1/budgets"): Role.VIEWER,
    ("GET", "/v1/budgets/usage"): Role.VIEWER,
    ("PUT", "/v1/budgets/{name}"): Role.ADMIN,
    ("DELETE", "/v1/budgets/{name}"): Role.ADMIN,
    ("GET", "/v1/horizon"): Role.VIEWER,
    ("POST", "/v1/replays"): Role.ADMIN,  # it may spend money and reads all events
    ("GET", "/v1/replays"): Role.VIEWER,
    ("GET", "/v1/replays/{replay_id}"): Role.VIEWER,
    ("GET", "/v1/replays/{replay_id}/report"): Role.VIEWER,
    ("POST", "/v1/replays/{replay_id}:cancel"): Role.ADMIN,
    ("POST", "/v1/replays/{replay_id}:resume"): Role.ADMIN,
    ("POST", "/v1/replays/{replay_id}:swap"): Role.ADMIN,
    ("POST", "/v1/replays/{replay_id}:drop"): Role.ADMIN,
    ("POST", "/workflows"): Role.DEVELOPER,
    ("GET", "/workflows"): Role.VIEWER,
    ("GET", "/workflows/{tag}"): Role.VIEWER,
    ("GET", "/workflows/{tag}/history"): Role.VIEWER,
    ("POST", "/workflows/{tag}:patch"): Role.DEVELOPER,
    ("POST", "/workflows/{tag}:rollback"): Role.DEVELOPER,
    ("POST", "/workflows/{tag}:run"): Role.DEVELOPER,
    ("GET", "/workflow-runs"): Role.VIEWER,
    ("GET", "/workflow-runs/{run_id}"): Role.VIEWER,
    ("POST", "/workflow-runs/{run_id}:pause"): Role.DEVELOPER,
    ("POST", "/workflow-runs/{run_id}:resume"): Role.DEVELOPER,
    ("POST", "/workflow-runs/{run_id}:cancel"): Role.DEVELOPER,
    ("POST", "/workflow-runs/{run_id}/signals/{name}"): Role.DEVELOPER,
    ("POST", "/workflow-runs/{run_id}/tasks/{work_id}"): Role.DEVELOPER,
    ("GET", "/asyncapi.yaml"): Role.VIEWER,
    ("GET", "/metrics"): Role.ADMIN,  # all agents' and sources' figures; Prometheus reads the operations port
    ("GET", "/healthz"): Door.OPEN,
    ("GET", "/health"): Door.OPEN,
    ("GET", "/readyz"): Door.OPEN,
}
# The OpenAPI document and its pages are Starlette's routes within FastAPI, and open: they are the same for every mesh.

_EVENTS: Final = ("POST", "/events")
_CALLBACK: Final = ("POST", "/v1/waits/{wait_id}/callback")
_BY_TOKEN: Final = "callback-token"  # noqa: S105  # who reports by the token of a wait
_EXPLAINED: Final = {"expired": "the credential has expired", "revoked": "the credential was revoked"}


class Guard:
    """The check. ``authenticator`` None: authentication is off, and only ``POST /events`` asks for its token if one is set."""

    def __init__(self, authenticator: Authenticator | None, tenant: str, settings: GatewaySettings) -> None:
        self._authenticator = authenticator
        self._tenant = tenant
        self._event_tokens = tuple(digest(t.get_secret_value().encode()) for t in settings.events_token)

    @property
    def on(self) -> bool:
        return self._authenticator is not None

    async def check(self, scope: Scope) -> None:
        """Raises ``HttpError`` 401 or 403, and ``DependencyUnavailable`` where a credential can't be checked now."""
        route = ("GET" if scope["method"] == "HEAD" else scope["method"], scope["route"].path_format)
        need = ACCESS.get(route)
        if isinstance(need, Door):
            return
        if need is None:
            log.error("route_without_permission", method=route[0], route=route[1])
            raise HttpError(403, "forbidden", "nobody may call this")
        credential = bearer(scope)
        if route == _EVENTS and self._event_tokens:
            if credential and same_as_any(digest(credential.encode()), self._event_tokens):
                return
            if self._authenticator is None:
                raise _unauthorized("missing" if credential is None else "unknown", route[1])
        if route == _CALLBACK and credential and credential.startswith(callbacks.PREFIX):
            scope[_PRINCIPAL] = self._whose_callback(credential, scope["path_params"]["wait_id"], route[1])
        elif self._authenticator is not None:
            scope[_PRINCIPAL] = await self._authorize(self._authenticator, credential, need, route[1])

    def _whose_callback(self, credential: str, wait_id: str, route: str) -> Principal | None:
        if self._authenticator is None:
            return None
        if not self._authenticator.opens_callback(credential, self._tenant, wait_id):
            raise _unauthorized("unknown", route)
        return Principal(_BY_TOKEN, self._tenant, Role.VIEWER)

    async def _authorize(self, known: Authenticator, credential: str | None, need: Role, route: str) -> Principal:
        if not credential:
            raise _unauthorized("missing", route)
        try:
            principal = await known.principal(credential)
        except Refused as refused:
            raise _unauthorized(refused.reason, route) from None
        if principal.tenant != self._tenant:
            raise _forbidden(principal, "other_tenant", "the credential is of another tenant", route)
        if principal.role < need:
            raise _forbidden(principal, "role", f"this needs the role {need} or a greater one", route)
        return principal


def decider(scope: Scope) -> str:
    """Who decides with this request: the id of the key or token that let it in."""
    principal: Principal | None = scope.get(_PRINCIPAL)
    return principal.id if principal else _NOBODY


def speak_for(scope: Scope, name: str | None, where: str) -> None:
    """The owner or user that a request names, at ``where``. Raises ``HttpError`` 403 if who asks may not act in their name."""
    principal: Principal | None = scope.get(_PRINCIPAL)
    if name is not None and principal is not None and not principal.speaks_for(name):
        route = scope["route"].path_format
        raise _forbidden(principal, "owner", "the credential may not act for this name", route, where)


def may(scope: Scope, role: Role) -> bool:
    """Whether who asks has this role, on a route that asks for a lesser one. Nobody has one where no credential is asked for."""
    principal: Principal | None = scope.get(_PRINCIPAL)
    return principal is not None and principal.role >= role


async def guarded(request: Request) -> None:
    """The check as a dependency of FastAPI's routes. Without a guard in the scope nobody passes."""
    await request.scope[GUARD].check(request.scope)


def bearer(scope: Scope) -> str | None:
    """The credential of ``Authorization: Bearer``; None if there is none, or more than one."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, credential = found[0].decode("latin-1").partition(" ") if len(found) == 1 else ("", "", "")
    return credential.strip() if scheme.lower() == "bearer" else None


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` (OpenAPI) with the credential that each operation asks for, and its refusals."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["bearer"] = {"type": "http", "scheme": "bearer", "description": "An API key (hrk_...) or a token (HS256)"}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            need = ACCESS.get((method.upper(), path))
            if isinstance(need, Role):
                operation["security"] = [{"bearer": []}]
                operation["responses"]["401"] = {"description": "No valid credential", "content": content}
                operation["responses"]["403"] = {"description": f"Needs the role {need}", "content": content}
    return document


def _unauthorized(reason: str, route: str) -> HttpError:
    log.warning("request_refused", reason=reason, route=route)
    challenge = "Bearer" if reason == "missing" else 'Bearer error="invalid_token"'
    message = _EXPLAINED.get(reason, "a valid bearer credential is required")
    return HttpError(401, "unauthorized", message, headers={"WWW-Authenticate": challenge})


def _forbidden(principal: Principal, reason: str, message: str, route: str, where: str | None = None) -> HttpError:
    log.warning("request_refused", reason=reason, route=route, credential_id=principal.id)
    return HttpError(403, "forbidden", message, where=where)
