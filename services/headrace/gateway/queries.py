"""Reading back: runs, results, agents. All from the index, the blob store and the catalogue; nothing here writes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from headrace.blobs.tenants import TenantBlobs
from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.ports import Deps, JsonDict, RunFilters
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.promotion import shown
from headrace.gateway.waiting import Waiting
from headrace.messages.agent import AgentDefinition, AgentRecord

State = Literal["pending", "running", "completed", "failed"]
_BLOB: Final = re.compile(r"(?:cas:(?://)?)?(sha256:[0-9a-f]{64})")
_ARTIFACT: Final = re.compile(r"(?:artifact:(?://)?)?([A-Za-z0-9][A-Za-z0-9._-]{0,127})")
_BLOB_HEADERS: Final = {
    "Cache-Control": "private, max-age=31536000, immutable",  # the name is the content
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


def router(deps: Deps, accepted: AcceptedRuns, waiting: Waiting) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/runs", tags=["runs"], summary="List runs, newest first")
    async def list_runs(
        agent: Annotated[str | None, Query(max_length=128)] = None,
        state: State | None = None,
        event_type: Annotated[str | None, Query(max_length=256)] = None,
        session_id: Annotated[str | None, Query(max_length=256)] = None,
        user_id: Annotated[str | None, Query(max_length=256)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
    ) -> Response:
        """Give the answer's `cursor` to get the next page; it is null at the end."""
        filters = RunFilters(agent, state, event_type, session_id, user_id)
        page = await deps.index.runs(filters, limit=limit, cursor=cursor)
        return _json({"runs": page.runs, "cursor": page.cursor})

    @routes.get("/runs/{run_id}", tags=["runs"], summary="One run: state, usage, steps, result")
    async def get_run(run_id: str, wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0) -> Response:
        """`state` is accepted (durable, not indexed yet), pending, running, completed or failed. With `wait` the answer comes when
        the run has ended, or after so many seconds (up to a bound)."""
        await waiting.outcome(run_id, min(wait, deps.settings.gateway_max_wait_s))
        run = await deps.index.run(run_id)
        if run is not None:
            return _json(run)
        agent = accepted.agent(run_id)
        if agent is None:
            raise HttpError(404, "unknown_run", "no such run", where="run_id")
        return _json({"run_id": run_id, "agent_name": agent, "state": "accepted"})

    @routes.get("/results/{ref:path}", tags=["results"], summary="What a reference stands for")
    async def get_result(ref: str) -> Response:
        """`artifact://ID` is asked for as `/v1/results/ID`, `cas://sha256:HEX` as `/v1/results/sha256:HEX`; the full form
        works too. What was not made or handed over for the caller's tenant is answered as what is not there."""
        return await _resolve(deps, ref)

    @routes.get("/usage", tags=["usage"], summary="Runs, errors, tokens, cost and latency by agent")
    async def get_usage(
        agent: Annotated[str | None, Query(max_length=128)] = None,
        since: Annotated[str, Query(max_length=40)] = "24h",
        window: Annotated[str | None, Query(max_length=8)] = None,
    ) -> Response:
        """`since` is a span (`24h`, `7d`) or an ISO 8601 time. With `window` (`1h`, say) there is a row for each agent and window,
        without it one for each agent. Percentiles are within 2 %."""
        return _json(await deps.usage.usage(agent=agent, since=since, window=window))

    @routes.get("/agents", tags=["agents"], summary="The live agents")
    async def list_agents() -> Response:
        _check_catalog(deps)
        found = deps.catalog.all_live()
        return _json({"agents": [_summary(one) | _standing(deps.catalog.pointer(one.name)) for one in found]})

    @routes.get("/agents/{name}", tags=["agents"], summary="One agent: schemas, triggers, limits, versions")
    async def get_agent(name: str, request: Request) -> Response:
        _check_catalog(deps)
        version = request.query_params.get("version")
        definition = deps.catalog.get(name, version) if version else deps.catalog.live(name)
        if definition is None:
            raise HttpError(404, "unknown_agent", "no such agent", where="name")
        pointer = deps.catalog.pointer(name)
        return _json(_detail(definition, deps.catalog.versions(name)) | {"live": shown(pointer)})

    return routes


async def _resolve(deps: Deps, ref: str) -> Response:
    if blob := _BLOB.fullmatch(ref):
        return _content(await TenantBlobs(deps.blobs, deps.tenant).get(f"cas://{blob[1]}"))
    artifact = _ARTIFACT.fullmatch(ref)
    if artifact is None:
        raise HttpError(400, "bad_reference", "neither an artifact nor a content reference", where="ref")
    result = await deps.index.result(artifact[1])
    if result is None:
        raise HttpError(404, "unknown_result", "no such result", where="ref")
    return _json(result)


def _content(data: bytes) -> Response:
    """Stored content under the plainest type that fits: a browser must not take it for a page."""
    try:
        orjson.loads(data)
        media = JSON
    except orjson.JSONDecodeError:
        media = "text/plain; charset=utf-8" if _is_text(data) else "application/octet-stream"
    return Response(data, headers={**_BLOB_HEADERS, "Content-Type": media})


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\x00" not in data


def _check_catalog(deps: Deps) -> None:
    if not deps.catalog_ready():
        raise unavailable("the catalogue of agents")


def _summary(definition: AgentDefinition) -> JsonDict:
    return {
        "name": definition.name,
        "version": definition.version,
        "category": definition.category,
        "description": definition.description,
        "model": definition.model,
        "tools": list(definition.tools),
        "definition_hash": definition.definition_hash,
    }


def _standing(pointer: AgentRecord | None) -> JsonDict:
    told = shown(pointer)
    return {"canary": told["canary"], "revision": told["revision"]}


def _detail(definition: AgentDefinition, versions: list[str]) -> JsonDict:
    """Everything that a caller needs. The prompt is named by its hash: it is its owner's to show."""
    shown = definition.plain()
    del shown["system_prompt"]
    return {
        **shown,
        "definition_hash": definition.definition_hash,
        "prompt_hash": definition.prompt_hash,
        "versions": versions,
    }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type=JSON)
