"""``/v1/waits``: what runs wait for, and the callback of those that wait for somebody outside.

A callback is a record on ``wait.completions``, as a decision is, and the first one counts. It may come with a credential of the
API, or with the wait's own token, which opens that one callback; whoever reads a wait as a developer sees the token and may hand
it on.
What is reported is data of a stranger: bounded here, and fenced like all that tools return.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from headrace.auth import Role, callbacks
from headrace.control.approvals import Question, QuestionState
from headrace.gateway.access import bearer, decider, may
from headrace.gateway.approvals import settled, shown
from headrace.gateway.body import header_map
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError
from headrace.gateway.publishing import publish
from headrace.gateway.run_start import parsed, read_json
from headrace.messages.headers import trace_context
from headrace.messages.ids import content_ref
from headrace.messages.run import ToolError
from headrace.messages.wait import Kind, Reported, WaitCompletion
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)
MAX_BODY: Final = 65_536  # bytes: a model is to read it
_AGAIN_S: Final = 1
_ALL: Final[tuple[Kind, ...]] = get_args(Kind)
_CALLBACKS: Final[tuple[Kind, ...]] = ("callback",)


class ReportedError(BaseModel):
    """Why there is no outcome, in words that a model may read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="A stable code of your own")
    message: str = Field(max_length=1_000)
    retryable: bool = False


class CallbackRequest(BaseModel):
    """The outcome: ``content``, any JSON value, or ``error``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content: Any = None
    error: ReportedError | None = None


class WaitCallback:
    """``POST /v1/waits/{wait_id}/callback``."""

    def __init__(self, deps: Deps, limits: RateLimits) -> None:
        self._deps = deps
        self._limits = limits

    async def handle(self, request: Request) -> Response:
        headers = header_map(request.scope)
        wanted = parsed(CallbackRequest, await read_json(request, headers, MAX_BODY))
        if len(wanted.model_fields_set) != 1:
            raise HttpError(422, "request_schema", "give either content or error", where="/content")
        wait = await _reportable(self._deps, request)
        if wait.state != "pending":
            return _answer(_same(wait, wanted))
        self._limits.request()
        said = _completion(self._deps.tenant, wait, wanted, decider(request.scope))
        await publish(self._deps, [Send(said, headers=trace_context(headers))])
        log.info("callback_reported", run_id=wait.run_id, tool=wait.tool, failed=wanted.error is not None)
        after = await settled(self._deps, wait.id, _CALLBACKS)
        return _answer(wait, 202) if after is None else _answer(_same(after, wanted))


def router(deps: Deps) -> APIRouter:
    """The reading routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1", tags=["waits"])

    @routes.get("/waits", summary="List what runs wait for, the latest deadline first")
    async def list_waits(
        kind: Kind | None = None,
        state: QuestionState | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response:
        """`callback` ones can be reported to, `approval` and `intent` ones are approvals. Give `cursor` to get the next page."""
        kinds = _ALL if kind is None else (kind,)
        page = await deps.approvals.questions(deps.tenant, state=state, limit=limit, cursor=cursor, kinds=kinds)
        rows = [_facts(wait) for wait in page.approvals]
        return Response(orjson.dumps({"waits": rows, "cursor": page.cursor}), media_type=JSON)

    @routes.get("/waits/{wait_id}", summary="One wait, with its call's arguments, and its outcome once there is one")
    async def get_wait(wait_id: str, request: Request) -> Response:
        """A pending one of the kind `callback` has `callback_url`, and for developers the `callback_token` that opens it."""
        facts = _facts(wait := await _found(deps, wait_id))
        if "callback_url" in facts and deps.authenticator is not None and may(request.scope, Role.DEVELOPER):
            facts["callback_token"] = deps.authenticator.callback_token(deps.tenant, wait.id)
        return Response(orjson.dumps(facts), media_type=JSON)

    return routes


async def _found(deps: Deps, wait_id: str) -> Question:
    wait = await deps.approvals.question(deps.tenant, wait_id, _ALL)
    if wait is None:
        raise _unknown()
    return wait


def _unknown() -> HttpError:
    return HttpError(404, "unknown_wait", "no such wait", where="wait_id")


async def _reportable(deps: Deps, request: Request) -> Question:
    """The wait that is reported to. Its token may be there before it is: the service that has it may be faster than the record that
    parks the run, and is told to come again.
    """
    wait = await deps.approvals.question(deps.tenant, request.path_params["wait_id"], _ALL)
    if wait is None and (bearer(request.scope) or "").startswith(callbacks.PREFIX):
        again = {"Retry-After": str(_AGAIN_S)}
        raise HttpError(503, "not_parked", "nothing waits for this now: try again", headers=again)
    if wait is None or wait.kind not in _CALLBACKS:
        raise _unknown()
    return wait


def _same(wait: Question, wanted: CallbackRequest) -> Question:
    """The settled wait, if it was settled as ``wanted``. Raises ``HttpError`` 409."""
    outcome = wait.outcome or {}
    error = None if wanted.error is None else wanted.error.model_dump()
    found = outcome.get("error") and {name: outcome["error"].get(name) for name in ReportedError.model_fields}
    if ref := outcome.get("content_ref"):
        same = ref == content_ref(orjson.dumps(wanted.content))
    else:
        same = outcome.get("content") == wanted.content
    if wait.state != "reported" or found != error or not same:
        raise HttpError(409, "already_settled", f"the wait is over, and not by this: {wait.state}")
    return wait


def _completion(tenant: str, wait: Question, wanted: CallbackRequest, by: str) -> WaitCompletion:
    error = None if wanted.error is None else ToolError(**wanted.error.model_dump())
    return WaitCompletion(
        tenant=tenant,
        run_id=wait.run_id,
        agent=wait.agent,
        step=wait.step,
        round=wait.round,
        call_id=wait.call_id,
        cause="reported",
        reported=Reported(content=wanted.content, error=error, by=by),
    )


def _facts(wait: Question) -> dict[str, Any]:
    facts = shown(wait)
    if wait.outcome is not None:
        facts["outcome"] = {name: wait.outcome.get(name) for name in ("status", "content", "content_ref", "error")}
    if wait.kind == "callback" and wait.state == "pending":
        facts["callback_url"] = f"/v1/waits/{wait.id}/callback"
    return facts


def _answer(wait: Question, status: int = 200) -> Response:
    return Response(orjson.dumps({"id": wait.id, "run_id": wait.run_id, "state": wait.state}), status, media_type=JSON)
