"""What the records of runs say of them: ``GET /v1/runs/{run_id}/diff/{other}`` and ``GET /v1/horizon``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from headrace.gateway.openapi_parts import refusals
from headrace.gateway.ports import Deps, History
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.history.chain import BrokenChain
from headrace.history.comparison import UnknownRun
from headrace.history.facts import facts
from headrace.history.horizon import range_of


def router(deps: Deps) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1")

    @routes.get(
        "/runs/{run_id}/diff/{other}",
        tags=["runs"],
        summary="Two runs step by step: where they first differ, and what each cost",
        responses=_refused(
            _404="No such run", _409="Its records are gone, or say nothing yet", _503="Not known now; see Retry-After"
        ),
    )
    async def diff(run_id: str, other: str) -> Response:
        """A fork is compared with what it took from the other run, and runs of sub-agents call by call. Ids, times and token
        counts are no difference. `same` says whether there is none; `first` is the first one, with both sides' values. Runs of
        shadow replays are compared by `headrace runs diff`."""
        try:
            found = await _history(deps).compare(run_id, other)
        except UnknownRun as error:
            raise HttpError(404, "unknown_run", str(error), where="run_id") from None
        except BrokenChain as error:
            raise HttpError(409, "broken_run", str(error), where="run_id") from None
        return _json(facts(found))

    @routes.get(
        "/horizon",
        tags=["replays"],
        summary="How far back replays reach",
        responses=_refused(_400="No such range", _503="Not known now; see Retry-After"),
    )
    async def horizon(
        agent: Annotated[str | None, Query(max_length=128)] = None,
        since: Annotated[str | None, Query(max_length=40)] = None,
        until: Annotated[str | None, Query(max_length=40)] = None,
    ) -> Response:
        """`kinds`: since when each kind of replay finds everything, by which topic, and when retention cuts into it next; with
        `since` (a span, `7d`, or an ISO 8601 time), whether all of that range is there (`whole`). `topics`, and the `blobs` that
        their records name: what sets that. `agents`: each agent's ended runs, and how many of them can be run again. Times in the
        answer are epoch ms."""
        return _json(await _history(deps).horizon(agent, range_of(since, until, datetime.now(UTC))))

    return routes


def _history(deps: Deps) -> History:
    if deps.history is None:
        raise unavailable("the records of runs")
    return deps.history


def _refused(**texts: str) -> dict[int | str, dict[str, Any]]:
    return {int(status): text for status, text in refusals(**texts).items()}


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type=JSON)
