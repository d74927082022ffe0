"""``/v1/agents/{name}:promote`` and ``:rollback``: which version is live, for all keys or for a share of them."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from headrace.gateway.access import decider
from headrace.gateway.body import header_map
from headrace.gateway.openapi_parts import body, refusals
from headrace.gateway.ports import Deps, JsonDict, Promotion
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.run_start import parsed, read_json
from headrace.messages.agent import SEMVER, AgentRecord
from headrace.observe.logging import get_logger
from headrace.registry.pointer import CantChange
from headrace.registry.promote import by

log = get_logger(__name__)
_STATUS: Final = {"unknown_agent": 404, "unknown_version": 422}  # 409 for what can't be made of what is there
_WHERE: Final = {"unknown_agent": "name", "unknown_version": "/version", "revision_conflict": "/base_revision"}
Wanted = TypeVar("Wanted", bound=BaseModel)
_SHOWN: Final = (
    "revision",
    "live_version",
    "canary",
    "change",
    "replaced",
    "changed_by",
    "changed_at",
    "reason",
    "before",
)


class RollbackRequest(BaseModel):
    """Go back to what was live before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str | None = Field(default=None, min_length=1, max_length=2000, description="For the record")
    base_revision: int | None = Field(
        default=None, ge=0, description="The revision that this was decided by; another one that is there is a 409"
    )


class PromoteRequest(RollbackRequest):
    """Make ``version`` live, for all keys or as a canary."""

    version: str = Field(max_length=64, pattern=SEMVER, description="A version that is published")
    canary_percent: float | None = Field(
        default=None, gt=0, lt=100, description="Only for this share of the keys; default: for all"
    )


def router(deps: Deps) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1/agents", tags=["agents"])

    @routes.post("/{name}:promote", summary="Make a version live, for all or some keys", **_described(PromoteRequest))
    async def promote(name: str, request: Request) -> Response:
        """Runs in flight keep their version. A canary that grows keeps the keys that it has; a session stays with one version."""
        wanted = await _read(request, PromoteRequest, deps)
        who = by(decider(request.scope), wanted.reason)
        try:
            return _answer(
                await _promotion(deps).promote(
                    name, wanted.version, who, percent=wanted.canary_percent, base=wanted.base_revision
                )
            )
        except CantChange as error:
            raise _refused(error) from None

    @routes.post("/{name}:rollback", summary="Back to what was live before", **_described(RollbackRequest))
    async def rollback(name: str, request: Request) -> Response:
        """Ends the canary; if there is none, the version that was live before is live again."""
        wanted = await _read(request, RollbackRequest, deps)
        who = by(decider(request.scope), wanted.reason)
        try:
            return _answer(await _promotion(deps).roll_back(name, who, base=wanted.base_revision))
        except CantChange as error:
            raise _refused(error) from None

    return routes


def shown(pointer: AgentRecord | None) -> JsonDict:
    """What the API tells of a pointer; nothing of it for an agent that has none."""
    told = pointer.plain() if pointer else {}
    return {name: told.get(name) for name in _SHOWN}


async def _read(request: Request, model: type[Wanted], deps: Deps) -> Wanted:
    return parsed(model, await read_json(request, header_map(request.scope), deps.settings.gateway_max_body_bytes))


def _promotion(deps: Deps) -> Promotion:
    if deps.promotion is None:
        raise unavailable("the catalogue of agents")
    return deps.promotion


def _refused(error: CantChange) -> HttpError:
    return HttpError(_STATUS.get(error.cause, 409), error.cause, str(error.args[0]), where=_WHERE.get(error.cause))


def _answer(pointer: AgentRecord) -> Response:
    log.info("agent_promoted", agent=pointer.name, change=pointer.change, version=pointer.live_version)
    return Response(orjson.dumps({"name": pointer.name, **shown(pointer)}), media_type=JSON)


def _described(model: type[BaseModel]) -> dict[str, Any]:
    refused = refusals(
        _400="Broken JSON",
        _404="No such agent",
        _409="Not what can be made of what is there: the message says what is",
        _413="Body over the limit",
        _415="Content type or encoding",
        _422="Not such a request, or no such version",
        _503="Not durable; see Retry-After",
    )
    return {
        "openapi_extra": {"requestBody": body((JSON, model.model_json_schema()))},
        "responses": {int(status): text for status, text in refused.items()},
    }
