"""``POST /test/chat``: one prompt by hand, and the result that its job leads to.

It is the way of every other run: a job on ``agent.jobs``, and its result from the index. The prompt comes as JSON, or as the query
parameter ``prompt``, which the caller's shell has fewer quotes for.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.access import speak_for
from headrace.gateway.body import header_map
from headrace.gateway.budgets import refuse_exhausted
from headrace.gateway.openapi_parts import LIMITED, body, parameter, refusals
from headrace.gateway.ports import Deps
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.run_start import RunRequest, RunStart, parsed, read_json
from headrace.gateway.waiting import Waiting
from headrace.messages.ids import result_id
from headrace.messages.job import DEFAULT_AGENT
from headrace.messages.run import DoubleTexting

_QUERY: Final = ("prompt", "session_id", "agent", "user_id", "double_texting")


class ChatRequest(BaseModel):
    """A prompt, and in which session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    session_id: str | None = Field(default=None, min_length=1, max_length=256)
    agent: str = Field(default=DEFAULT_AGENT, min_length=1, max_length=128, description="Name of a published agent")
    user_id: str | None = Field(default=None, min_length=1, max_length=256)
    double_texting: DoubleTexting | None = None


class Chat:
    """The endpoint."""

    def __init__(self, deps: Deps, start: RunStart, waiting: Waiting) -> None:
        self._deps = deps
        self._start = start
        self._waiting = waiting

    async def handle(self, request: Request) -> Response:
        headers, wait_s = header_map(request.scope), self._deps.settings.gateway_max_wait_s
        asked = parsed(ChatRequest, await self._given(request, headers))
        speak_for(request.scope, asked.user_id, "/user_id")
        if self._waiting.full:
            raise unavailable("a further wait")
        wanted = RunRequest(**asked.model_dump())
        run_id = str(uuid.uuid4())
        self._start.checked(wanted, run_id)
        await refuse_exhausted(self._deps, wanted)
        await self._start.publish(wanted, run_id, headers)
        where = {"Location": f"/v1/runs/{run_id}"}
        ended = await self._waiting.outcome(run_id, wait_s)
        if ended is None:
            raise HttpError(
                504, "timeout", f"no answer within {wait_s:g} s; the run goes on as {run_id}", headers=where
            )
        result = {
            "job_id": run_id,
            "status": ended["state"],
            "result": ended.get("output"),
            "result_ref": None if "error" in ended else f"artifact://{result_id(self._deps.tenant, run_id)}",
            "error": ended.get("error"),
        }
        return Response(orjson.dumps(result), 200, where, media_type=JSON)

    async def _given(self, request: Request, headers: dict[str, str]) -> Any:
        if "prompt" in request.query_params:
            return {name: request.query_params[name] for name in _QUERY if name in request.query_params}
        return await read_json(request, headers, self._deps.settings.gateway_max_body_bytes)


def chat_paths() -> dict[str, Any]:
    """Its part of the OpenAPI document."""
    answer = {
        "type": "object",
        "required": ["job_id", "status", "result", "result_ref", "error"],
        "properties": {
            "job_id": {"type": "string"},
            "status": {"enum": ["completed", "failed"]},
            "result": {"description": "The answer of a run that completed"},
            "result_ref": {"type": ["string", "null"]},
            "error": {"type": ["object", "null"]},
        },
    }
    told = {
        "_400": "Unknown agent, or broken JSON",
        "_413": "Body over the limit",
        "_415": "Content type or encoding",
        "_422": "Not this request",
        "_429": LIMITED,
        "_503": "Not durable; see Retry-After",
        "_504": "No answer in time; the run goes on",
    }
    return {
        "/test/chat": {
            "post": {
                "tags": ["doors"],
                "summary": "Try a prompt, and wait for its result",
                "parameters": [parameter("prompt", "query", "Instead of a body; so may be the other fields")],
                "requestBody": body(("application/json", ChatRequest.model_json_schema())) | {"required": False},
                "responses": {
                    "200": {"description": "How the run ended", "content": {"application/json": {"schema": answer}}},
                    **refusals(**told),
                },
            }
        }
    }
