"""``/v1/replays``: asking for replays, seeing how far they are, their reports. The work is the replay service's; here are rows."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from headrace.control.replays.requests import KINDS, REPLAY_ID, DropRequest, ReplayRequest, SwapRequest, request_of
from headrace.control.replays.states import State
from headrace.control.replays.store import CantMove, NewReplay, Replay, Replays, ReplayTaken
from headrace.gateway.access import decider
from headrace.gateway.body import header_map
from headrace.gateway.openapi_parts import body, refusals
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.replay_checks import check
from headrace.gateway.replay_indexes import followed
from headrace.gateway.run_start import read_json
from headrace.observe.logging import get_logger

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
        by the service's code. `bulk_rerun`: the jobs of many runs begun once more, live. `bulk_cancel`: many runs asked to end.
        `reprice`: what runs would have cost at other prices. `rebuild`: the index of runs made again beside the live one;
        `swap`, `drop`: it is put in place, or removed. `redrive`: dead letters sent back, as they are or edited.

        It is planned first. With `dry_run`, or without `confirm` where models cost money or something live is changed, it is
        `planned` then, with its `estimate`, and `:resume` begins it. The same `replay_id` with the same request is one replay.
        """
        value = await read_json(request, header_map(request.scope), deps.settings.gateway_max_body_bytes)
        wanted = _parsed(value)
        check(deps, wanted)
        try:
            row = await _table(deps).begin(NewReplay.asked(deps.tenant, wanted, decider(request.scope)))
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

    @routes.post(
        "/{replay_id}:swap", summary="Put the index that a rebuild made in place", status_code=202, **_described()
    )
    async def swap(request: Request, replay_id: Name) -> Response:
        """A replay of its own, which is answered with. Refused unless the rebuild found its index and the live one the same; they
        are compared once more, and it fails where they differ by then. It waits for persistence to be stopped.
        """
        made = await _table(deps).get(deps.tenant, replay_id)
        return _answer(await followed(_table(deps), made, SwapRequest, decider(request.scope)), 202)

    @routes.post("/{replay_id}:drop", summary="Remove the index that a rebuild made", status_code=202, **_described())
    async def drop(request: Request, replay_id: Name) -> Response:
        """A replay of its own, which is answered with. After a swap it removes what was live before."""
        made = await _table(deps).get(deps.tenant, replay_id)
        return _answer(await followed(_table(deps), made, DropRequest, decider(request.scope)), 202)

    return routes


def _parsed(value: Any) -> ReplayRequest:
    try:
        return request_of(value)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        place = where.strip("`").replace("$.", "/").replace("$", "/") or "/"
        raise HttpError(422, "request_schema", text, where=place) from None


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
        _409="The id is another request's, this can't be said in the state that it is in, or indexes differ",
        _413="Body over the limit",
        _415="Content type or encoding",
        _422="Not such a request; where says the first place",
        _503="Not known now; see Retry-After",
    )
    responses = {int(status): text for status, text in texts.items()}
    return {"responses": responses, "openapi_extra": {"requestBody": body((JSON, _BODY))} if with_body else {}}


def _schema() -> dict[str, Any]:
    """Of a request; without references, which would be of another document."""
    kinds, parts = msgspec.json.schema_components(KINDS, ref_template="#/{name}")
    del kinds
    return {"oneOf": [parts[kind.__name__] for kind in KINDS]}


_BODY: Final = _schema()
