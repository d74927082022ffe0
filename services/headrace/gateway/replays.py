"""``/v1/replays``: asking for replays, seeing how far they are, their reports. The work is the replay service's; here are rows."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from headrace.control.replays.requests import REPLAY_ID, ReplayRequest, RerunRequest, ShadowRequest, request_of
from headrace.control.replays.states import State
from headrace.control.replays.store import CantMove, NewReplay, Replay, Replays, ReplayTaken
from headrace.gateway.access import decider
from headrace.gateway.body import header_map
from headrace.gateway.openapi_parts import body, refusals
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.run_start import read_json
from headrace.messages.agent import AgentDefinition
from headrace.observe.logging import get_logger
from headrace.registry.candidate import InvalidCandidate, changed
from headrace.registry.filters import InvalidFilter, compile_filter
from headrace.registry.load import InvalidDefinition, load_text

log = get_logger(__name__)
Name = Annotated[str, Path(pattern=REPLAY_ID)]
# The page holds what models and events said. It needs nothing but its own styles, and may do nothing.
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def router(deps: Deps) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1/replays", tags=["replays"])

    @routes.post("", summary="Ask for a replay", status_code=202, **_described(with_body=True))
    async def post(request: Request) -> Response:
        """`shadow`: events of a range reasoned by another version of an agent, and compared. `rerun`: stored runs reasoned again
        by the service's code. It is planned first. With `dry_run`, or where models cost money and `confirm` is not given, it is
        `planned` then, with its `estimate`, and `:resume` begins it. The same `replay_id` with the same request is one replay.
        """
        value = await read_json(request, header_map(request.scope), deps.settings.gateway_max_body_bytes)
        wanted = _parsed(value)
        if isinstance(wanted, ShadowRequest):
            _check(deps, wanted)
        try:
            row = await _table(deps).begin(_new(deps.tenant, wanted, decider(request.scope)))
        except ReplayTaken as taken:
            raise HttpError(409, "replay_exists", str(taken), where="/replay_id") from None
        log.info("replay_asked", replay_id=row.replay_id, kind=row.kind, state=row.state)
        return _answer(row, 202)

    @routes.get("", summary="Replays, newest first", **_described())
    async def list_replays(state: State | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
        rows = await _table(deps).latest(deps.tenant, limit, state)
        return _json({"replays": [row.facts() for row, _ in rows]})

    @routes.get("/{replay_id}", summary="One replay, and how far it is", **_described())
    async def get(replay_id: Name) -> Response:
        """`progress` is a few seconds old: `passed` of `total`, `rate` a second, `eta_s`. `holder` works on it now."""
        return _answer(_there(await _table(deps).get(deps.tenant, replay_id)))

    @routes.get("/{replay_id}/report", summary="Its report, as JSON or as a page", **_described())
    async def report(replay_id: Name, format: Literal["json", "html"] = "json") -> Response:
        """The last one that there is. `html`: one self-contained page without scripts; re-runs have none."""
        _there(await _table(deps).get(deps.tenant, replay_id))
        facts, page = await _table(deps).report(deps.tenant, replay_id)
        if (page if format == "html" else facts) is None:
            raise HttpError(404, "no_report", "the replay has no such report yet", where="replay_id")
        if format == "html":
            return Response(page, headers=_PAGE_HEADERS, media_type="text/html; charset=utf-8")
        return _json(facts)

    @routes.post("/{replay_id}:cancel", summary="End it", status_code=202, **_described())
    async def cancel(replay_id: Name) -> Response:
        """Nothing new begins; what is under way is finished. Within seconds it is at rest, and `:resume` takes it up again."""
        return await _moved(_table(deps).cancel(deps.tenant, replay_id))

    @routes.post("/{replay_id}:resume", summary="Begin or go on", status_code=202, **_described())
    async def resume(replay_id: Name) -> Response:
        """Of what is `planned` it agrees to the `estimate`; what failed or was cancelled goes on where it was."""
        return await _moved(_table(deps).resume(deps.tenant, replay_id))

    return routes


def _parsed(value: Any) -> ReplayRequest:
    try:
        return request_of(value)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        place = where.strip("`").replace("$.", "/").replace("$", "/") or "/"
        raise HttpError(422, "request_schema", text, where=place) from None


def _check(deps: Deps, wanted: ShadowRequest) -> None:
    """What is wrong at first sight. Raises ``HttpError`` 400 unknown agent or version, 422 no candidate, 503 not known yet."""
    if not deps.catalog_ready():
        raise unavailable("the catalogue of agents")
    live = deps.catalog.live(wanted.agent)
    if live is None:
        raise HttpError(400, "unknown_agent", "no such agent is live", where="/agent")
    if wanted.version and wanted.definition:
        raise HttpError(422, "request_schema", "give either version or definition", where="/definition")
    other: AgentDefinition | None = None
    if wanted.version and (other := deps.catalog.get(wanted.agent, wanted.version)) is None:
        raise HttpError(400, "unknown_agent", "the agent has no such version", where="/version")
    try:
        if wanted.definition:
            other = load_text(msgspec.json.encode(wanted.definition).decode())
        changed(live, other, model=wanted.model, prompt=wanted.prompt)
    except InvalidDefinition as error:
        raise HttpError(422, error.cause, str(error), where="/definition") from None
    except InvalidCandidate as error:
        raise HttpError(422, error.cause, str(error), where="/") from None
    _check_filter(wanted.where, "/where")
    _check_filter(wanted.session, "/session")


def _check_filter(expression: str | None, where: str) -> None:
    try:
        if expression is not None:
            compile_filter(expression)
    except InvalidFilter as error:
        raise HttpError(422, "filter", str(error), where=where) from None


def _new(tenant: str, wanted: ReplayRequest, asked_by: str) -> NewReplay:
    return NewReplay(
        tenant=tenant,
        replay_id=wanted.replay_id or f"replay-{uuid.uuid4().hex[:10]}",
        kind="rerun" if isinstance(wanted, RerunRequest) else "shadow",
        agent=wanted.agent or "",
        request=wanted.plain(),
        started_by=asked_by,
        detached=True,
        follows=isinstance(wanted, ShadowRequest) and wanted.follow,
        dry_run=wanted.dry_run,
        confirmed=wanted.confirm,
    )


async def _moved(move: Awaitable[Replay | None]) -> Response:
    try:
        return _answer(_there(await move), 202)
    except CantMove as error:
        raise HttpError(409, error.cause, str(error), where="replay_id") from None


def _table(deps: Deps) -> Replays:
    if deps.replays is None:
        raise unavailable("the table of replays")
    return deps.replays


def _there(row: Replay | None) -> Replay:
    if row is None:
        raise HttpError(404, "unknown_replay", "no such replay", where="replay_id")
    return row


def _answer(row: Replay, status: int = 200) -> Response:
    place = f"/v1/replays/{row.replay_id}"
    headers = {"Location": place} if status == 202 else None
    return _json(row.facts() | {"status_url": place}, status, headers)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type=JSON)


def _described(*, with_body: bool = False) -> dict[str, Any]:
    """What FastAPI can't see of an endpoint: its body, and how it refuses."""
    texts = refusals(
        _400="Broken JSON, or an agent that is unknown",
        _404="No such replay, or no report of it yet",
        _409="The id is another request's, or this can't be said in the state that it is in",
        _413="Body over the limit",
        _415="Content type or encoding",
        _422="Not such a request; where says the first place",
        _503="Not known now; see Retry-After",
    )
    responses = {int(status): text for status, text in texts.items()}
    return {"responses": responses, "openapi_extra": {"requestBody": body((JSON, _BODY))} if with_body else {}}


def _schema() -> dict[str, Any]:
    """Of a request; without references, which would be of another document."""
    kinds, parts = msgspec.json.schema_components([ShadowRequest, RerunRequest], ref_template="#/{name}")
    del kinds
    return {"oneOf": [parts["ShadowRequest"], parts["RerunRequest"]]}


_BODY: Final = _schema()
