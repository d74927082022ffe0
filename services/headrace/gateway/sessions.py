"""``GET /v1/sessions``: what sessions hold, for who wants to show or to debug a conversation."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import JSON, HttpError


def router(deps: Deps) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/v1", tags=["sessions"])

    @routes.get("/sessions", summary="List sessions, the last used one first")
    async def list_sessions(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
        """A session begins with the first run that names it, and is listed once a run of it has ended."""
        return _json(await deps.sessions.sessions(limit=limit))

    @routes.get("/sessions/{session_id:path}", summary="One session: conversation, last result, pipelines, runs")
    async def get_session(session_id: str) -> Response:
        """`conversation_history` is what the next run of the session is given; `in_line` are runs under way or waiting."""
        session = await deps.sessions.session(session_id)
        if session is None:
            raise HttpError(404, "unknown_session", "no such session", where="session_id")
        return _json(session)

    return routes


def _json(value: JsonDict) -> Response:
    return Response(orjson.dumps(value), media_type=JSON)
