"""Budgets at the gateway: ``/v1/budgets``, and 429 for a run that could not make a single model call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from headrace.budgets.rules import problems
from headrace.gateway.access import decider
from headrace.gateway.body import header_map
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError
from headrace.gateway.run_start import RunRequest, read_json
from headrace.messages.budget import Budget

_UNKNOWN_S: Final = 3_600  # Retry-After of a budget that opens only when somebody raises it


async def refuse_exhausted(deps: Deps, wanted: RunRequest) -> None:
    """Raises ``HttpError`` 429 with ``Retry-After`` where a budget has nothing left for the run."""
    found = await deps.budgets.exhausted(wanted.agent, wanted.session_id)
    if found is None:
        return
    name, opens = found
    wait_s = _UNKNOWN_S if opens is None else max(1, round((opens - deps.now()).total_seconds()))
    again = "" if opens is None else f"; it opens again at {opens.isoformat(timespec='seconds').replace('+00:00', 'Z')}"
    message = f"budget {name} is exhausted{again}"
    raise HttpError(429, "budget_exhausted", message, headers={"Retry-After": str(wait_s)})


def router(deps: Deps) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1", tags=["budgets"])

    @routes.get("/budgets", summary="The budgets")
    async def list_budgets() -> Response:
        return _json({"budgets": [budget.plain() for budget in await deps.budgets.all()]})

    @routes.get("/budgets/usage", summary="What is used of each budget in its present window")
    async def get_usage(budget: Annotated[str | None, Query(max_length=63)] = None) -> Response:
        """`spent` is what finished model calls used, `held` what calls under way and processes have reserved of the rest."""
        at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return _json({"at": at, "accounts": await deps.budgets.usage(budget)})

    @routes.put("/budgets/{name}", summary="Set a budget", openapi_extra=_BODY, responses=_SET)
    async def put_budget(name: str, request: Request) -> Response:
        """Reasoners know it within about a second. What was used before, in its present window, counts."""
        limit = deps.settings.gateway_max_body_bytes
        budget = _parsed(name, await read_json(request, header_map(request.scope), limit))
        await deps.budgets.put(budget, decider(request.scope))
        return _json(budget.plain())

    @routes.delete("/budgets/{name}", status_code=204, summary="Remove a budget", responses=_GONE)
    async def remove_budget(name: str, request: Request) -> Response:
        if not await deps.budgets.remove(_checked_name(name), decider(request.scope)):
            raise HttpError(404, "unknown_budget", "no such budget", where="name")
        return Response(status_code=204)

    return routes


def _parsed(name: str, value: Any) -> Budget:
    if not isinstance(value, dict):
        raise HttpError(422, "request_schema", "a budget is an object", where="/")
    if unknown := sorted(set(value) - set(Budget.__struct_fields__)):
        raise HttpError(422, "request_schema", "unknown field", where=f"/{unknown[0][:64]}")
    if value.get("name", name) != name:
        raise HttpError(422, "request_schema", "not the name in the path", where="/name")
    try:
        budget = Budget.checked({**value, "name": name})
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        raise HttpError(422, "request_schema", text, where=where.strip("`").replace("$.", "/") or "/") from None
    if found := problems(budget):
        raise HttpError(422, "request_schema", found[0], where="/")
    return budget


def _checked_name(name: str) -> str:
    try:
        return Budget.checked({"name": name, "scope": "run"}).name
    except msgspec.ValidationError:
        raise HttpError(404, "unknown_budget", "no such budget", where="name") from None


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type=JSON)


_ERROR: Final[dict[str, Any]] = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def _errors(**texts: str) -> dict[int | str, dict[str, Any]]:
    return {status.lstrip("_"): {"description": text, "content": _ERROR} for status, text in texts.items()}


_SET: Final = _errors(
    _400="Broken JSON", _413="Body over the limit", _415="Content type or encoding", _422="Not a budget", _503="Not set"
)
_GONE: Final = _errors(_404="No such budget", _503="Not removed; see Retry-After")
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["scope"],
                    "properties": {
                        "scope": {"enum": ["tenant", "agent", "session", "run"]},
                        "window": {"enum": ["day", "month", "total"], "default": "total"},
                        "agent": {"type": ["string", "null"], "description": "Only runs of this agent"},
                        "tokens": {"type": ["integer", "null"], "minimum": 1},
                        "usd": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                }
            }
        },
    }
}
