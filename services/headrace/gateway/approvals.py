"""``/v1/approvals``: what waits for somebody's decision, and deciding it.

A decision is a record on ``wait.completions``; the gateway checks it first, so that whoever decides learns at once
what can't be decided (any more), and orchestration settles. It is bound to the arguments that were shown: for any
others it is refused with 409. Who decided is what the credential says, and nothing in the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from headrace.control.approvals import QUESTIONS, Question, QuestionState
from headrace.gateway.access import decider
from headrace.gateway.body import header_map
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError
from headrace.gateway.publishing import publish
from headrace.gateway.run_start import parsed, read_json
from headrace.messages.headers import trace_context
from headrace.messages.wait import SHA256, Decision, Kind, WaitCompletion
from headrace.observe.logging import get_logger
from headrace.registry.schemas import compile_schema, pointer, told, violations
from headrace.runtime.api import Send
from headrace.toolspecs import SPECS

log = get_logger(__name__)
_PATIENCE_S: Final = 3.0  # for the decision to be settled; then the answer is that it is durable
_POLL_S: Final = 0.05
_SETTLED: Final = {"approve": "approved", "deny": "denied"}


class DecisionRequest(BaseModel):
    """``arguments_hash`` is that of the approval as it was read; ``arguments`` approves the call with others in place
    of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["approve", "deny"]
    arguments_hash: str = Field(pattern=SHA256)
    arguments: dict[str, Any] | None = None
    reason: str | None = Field(default=None, max_length=1_000)


class ApprovalDecision:
    """``POST /v1/approvals/{approval_id}/decision``."""

    def __init__(self, deps: Deps, limits: RateLimits) -> None:
        self._deps = deps
        self._limits = limits

    async def handle(self, request: Request) -> Response:
        headers = header_map(request.scope)
        wanted = parsed(DecisionRequest, await read_json(request, headers, self._deps.settings.gateway_max_body_bytes))
        if wanted.verdict == "deny" and wanted.arguments is not None:
            raise HttpError(422, "request_schema", "a call that is denied has no other arguments", where="/arguments")
        question = await found(self._deps, request.path_params["approval_id"])
        by = decider(request.scope)
        _check(question, wanted)
        if wanted.arguments is not None:
            _check_arguments(question.tool, wanted.arguments)
        self._limits.request()
        said = _completion(self._deps.tenant, question, wanted, by)
        await publish(self._deps, [Send(said, headers=trace_context(headers))])
        log.info("approval_decided", run_id=question.run_id, tool=question.tool, verdict=wanted.verdict, by=by)
        after = await settled(self._deps, question.id)
        if after is None:
            return Response(orjson.dumps(shown(question)), 202, media_type=JSON)
        if after.state != _SETTLED[wanted.verdict] or after.decided_by != by:
            raise _decided(after)
        return Response(orjson.dumps(shown(after)), media_type=JSON)


def router(deps: Deps) -> APIRouter:
    """The reading routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/approvals", tags=["approvals"], summary="List approvals, the latest deadline first")
    async def list_approvals(
        state: QuestionState | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response:
        """`pending` ones wait for a decision; `due` ones had none in time, which is a no. Give `cursor` to get the next page."""
        page = await deps.approvals.questions(deps.tenant, state=state, limit=limit, cursor=cursor)
        rows = [shown(question) for question in page.approvals]
        return Response(orjson.dumps({"approvals": rows, "cursor": page.cursor}), media_type=JSON)

    @routes.get("/approvals/{approval_id}", tags=["approvals"], summary="One approval, with the call's arguments")
    async def get_approval(approval_id: str) -> Response:
        """`arguments_hash` goes into the decision: it says which arguments were seen."""
        return Response(orjson.dumps(shown(await found(deps, approval_id))), media_type=JSON)

    return routes


async def settled(deps: Deps, question_id: str, kinds: Collection[Kind] = QUESTIONS) -> Question | None:
    """The question once it is settled; None if that takes longer than whoever asks should wait."""
    for _ in range(round(_PATIENCE_S / _POLL_S)):
        question = await deps.approvals.question(deps.tenant, question_id, kinds)
        if question is not None and question.state != "pending":
            return question
        await asyncio.sleep(_POLL_S)
    return None


async def found(deps: Deps, approval_id: str) -> Question:
    """Raises ``HttpError`` 404."""
    question = await deps.approvals.question(deps.tenant, approval_id)
    if question is None:
        raise HttpError(404, "unknown_approval", "no such approval", where="approval_id")
    return question


def _check(question: Question, wanted: DecisionRequest) -> None:
    if question.state != "pending":
        raise _decided(question)
    if question.arguments_hash != wanted.arguments_hash:
        text = "the decision is about other arguments than the call has: read the approval again"
        raise HttpError(409, "arguments_changed", text, where="/arguments_hash")


def _check_arguments(tool: str, arguments: dict[str, Any]) -> None:
    """An approval can't be given again, so arguments that no call could be made with are refused before it counts. Of tools that
    are not headrace's own, the tools service knows the schema alone.
    """
    if (spec := SPECS.get(tool)) is None:
        return
    if error := next(violations(compile_schema(spec.parameters), arguments), None):
        where = "/arguments" + pointer(error.instance_path).rstrip("/")
        raise HttpError(422, "invalid_arguments", f"these are no arguments of {tool}: {told(error)}", where=where)


def _decided(question: Question) -> HttpError:
    return HttpError(409, "already_decided", f"there is nothing to decide any more: {question.state}")


def _completion(tenant: str, question: Question, wanted: DecisionRequest, by: str) -> WaitCompletion:
    decision = Decision(
        verdict=wanted.verdict,
        arguments_hash=wanted.arguments_hash,
        by=by,
        arguments=wanted.arguments,
        reason=wanted.reason,
    )
    return WaitCompletion(
        tenant=tenant,
        run_id=question.run_id,
        agent=question.agent,
        step=question.step,
        round=question.round,
        call_id=question.call_id,
        cause="decision",
        decision=decision,
    )


def shown(question: Question) -> dict[str, Any]:
    """Without what only the mesh itself needs."""
    names = (
        "id",
        "run_id",
        "agent",
        "kind",
        "tool",
        "state",
        "asked_at",
        "deadline",
        "decided_at",
        "decided_by",
        "reason",
        "arguments_hash",
        "arguments",
        "arguments_ref",
        "approved_with",
    )
    return {name: value for name in names if (value := getattr(question, name)) is not None}
