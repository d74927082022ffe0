"""What the endpoints of workflows share: reading a request, saying why it is refused, and what OpenAPI says of both."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from headrace.gateway.body import header_map
from headrace.gateway.openapi_parts import LIMITED, body, refusals
from headrace.gateway.ports import Deps, WorkflowStore
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.run_start import parsed, read_json
from headrace.workflows.load import InvalidWorkflow
from headrace.workflows.repository import WorkflowError

MAX_BODY: Final = 1_000_000  # bytes
_MAX_SHOWN: Final = 20  # problems in one answer
_STATUS: Final = {"unknown_workflow": 404, "workflow_exists": 409, "not_the_owner": 403, "version_conflict": 409}
_REFUSALS: Final = refusals(
    _400="Broken JSON",
    _404="No such workflow, version or run",
    _409="Not what is there now: the message says what is",
    _413="Body over the limit",
    _415="Content type or encoding",
    _422="Not such a request, or not a workflow that can be stored; where says the first place",
    _429=LIMITED,
    _503="Not durable; see Retry-After",
)
Wanted = TypeVar("Wanted", bound="Body")


class Body(BaseModel):
    """The body of a request. Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PatchBody(Body):
    """JSON Patch on the version that ``base_version`` names, which has to be the live one."""

    workflow_owner: str = Field(min_length=1, max_length=128, description="Who asks: only the owner may")
    base_version: int | None = Field(default=None, ge=1, description="The version that the patch was made for")
    operations: list[Any] = Field(description="add, remove, replace on /nodes, /edges, /triggers, /description")
    description: str = Field(default="", max_length=2000)
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=256)


class RollbackBody(Body):
    """Make the content of ``version`` live again, as a new version."""

    workflow_owner: str = Field(min_length=1, max_length=128)
    base_version: int | None = Field(default=None, ge=1)
    version: int = Field(ge=1, le=2**31 - 1)
    description: str = Field(default="", max_length=2000)


class RunBody(Body):
    input: Any = None
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Default: the live one")
    user_id: str | None = Field(default=None, min_length=1, max_length=128)
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=256)


class SignalBody(Body):
    payload: Any = None


class TaskBody(Body):
    """How a task ended: with ``output``, or with ``error``, a code of its own."""

    output: Any = None
    error: str | None = Field(default=None, min_length=1, max_length=128)


def described(model: type[Body] | None) -> dict[str, Any]:
    """What FastAPI can't see of an endpoint: its body, and how it refuses."""
    extra = {"requestBody": body((JSON, model.model_json_schema()))} if model else {}
    return {"openapi_extra": extra, "responses": {int(status): text for status, text in _REFUSALS.items()}}


async def read(request: Request, model: type[Wanted]) -> Wanted:
    """The body of a request. Raises ``HttpError``."""
    return parsed(model, await read_value(request))


async def read_value(request: Request) -> Any:
    return await read_json(request, header_map(request.scope), MAX_BODY)


def store(deps: Deps) -> WorkflowStore:
    """Raises ``HttpError`` 503 where there is none."""
    if deps.workflows is None:
        raise unavailable("the store of workflows")
    return deps.workflows


def refused(error: InvalidWorkflow | WorkflowError) -> HttpError:
    """Why a workflow was not stored, as an answer."""
    if isinstance(error, WorkflowError):
        return HttpError(_STATUS[error.cause], error.cause, str(error))
    first = "/" + "/".join(str(step) for step in error.problems[0].path)
    shown = "; ".join(str(problem) for problem in error.problems[:_MAX_SHOWN])
    return HttpError(422, error.cause, shown, where=first)


def answer(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type=JSON)
