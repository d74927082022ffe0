"""The doors that older callers know, over the same runs: names, bodies and answers are theirs.

``POST /agent``                   ``{prompt}`` -> ``{response}``: asks the assistant, and waits for its answer
``POST /agents/run``              ``{agent_type, user_id}`` -> 202 ``{run_id}``, or 409 while as many of the agent run as may
``GET /agents/status/{run_id}``   ``{state: PENDING | RUNNING | DONE | ERROR, result, error, ...}``

Errors have the shape that such callers expect, ``{"detail": text}``.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.access import speak_for
from headrace.gateway.body import header_map
from headrace.gateway.budgets import refuse_exhausted
from headrace.gateway.direct import Handler
from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import JSON, HttpError, from_headrace, unavailable
from headrace.gateway.run_start import RunRequest, RunStart, parsed, read_json
from headrace.gateway.waiting import Waiting, outcome
from headrace.messages.errors import HeadraceError, TransientError
from headrace.messages.job import DEFAULT_AGENT
from headrace.observe.logging import get_logger

log = get_logger(__name__)

BUSY: Final = "An agent is already running, please retry later"
UNSUPPORTED: Final = "Unsupported agent_type"
_STATES: Final = {"pending": "PENDING", "running": "RUNNING", "completed": "DONE", "failed": "ERROR"}
_GRACE_S: Final = 60.0  # from a run's deadline to its result in the index, at most


class AgentRequest(BaseModel):
    """A question to the assistant."""

    model_config = ConfigDict(frozen=True)

    prompt: str = Field(min_length=1)


class AgentRunRequest(BaseModel):
    """Which agent, for whom. ``input`` is an addition: what the agent gets instead of the user's id alone."""

    model_config = ConfigDict(frozen=True)

    agent_type: str = Field(min_length=1, max_length=128, description="Name of a published agent")
    user_id: str = Field(min_length=1, max_length=256)
    input: Any = None


class Doors:
    """The endpoints."""

    def __init__(self, deps: Deps, accepted: AcceptedRuns, start: RunStart, waiting: Waiting) -> None:
        self._deps = deps
        self._accepted = accepted
        self._start = start
        self._waiting = waiting
        self.ask = _detailed(self._ask)
        self.run = _detailed(self._run)
        self.status = _detailed(self._status)

    async def _ask(self, request: Request) -> Response:
        headers, wait_s = header_map(request.scope), self._deps.settings.gateway_max_wait_s
        asked = parsed(AgentRequest, await self._json(request, headers))
        if self._waiting.full:
            raise unavailable("a further wait")
        wanted = RunRequest(agent=DEFAULT_AGENT, prompt=asked.prompt)
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
        if "error" in ended:
            error = ended["error"]
            raise HttpError(502, "run_failed", f"the run failed: {error['type']}: {error['message']}", headers=where)
        return _json({"response": _text(ended["output"])}, 200, where)

    async def _run(self, request: Request) -> Response:
        headers = header_map(request.scope)
        asked = parsed(AgentRunRequest, await self._json(request, headers))
        speak_for(request.scope, asked.user_id, "/user_id")
        given = {"user_id": asked.user_id} if asked.input is None else asked.input
        wanted = RunRequest(agent=asked.agent_type, input=given, user_id=asked.user_id)
        run_id = str(uuid.uuid4())
        hold_s = self._hold_s(wanted, run_id)
        await refuse_exhausted(self._deps, wanted)
        await self._take_turn(wanted, run_id, hold_s)
        await self._start.publish(wanted, run_id, headers)
        with suppress(TransientError):  # the job is durable, and the index will tell of it
            await self._deps.turns.published(self._deps.tenant, run_id)
        return _json({"run_id": run_id}, 202, {"Location": f"/agents/status/{run_id}"})

    def _hold_s(self, wanted: RunRequest, run_id: str) -> float:
        """Check the request; how long its run may hold a turn, at most."""
        try:
            definition = self._start.checked(wanted, run_id)
        except HttpError as error:
            if error.code != "unknown_agent":
                raise
            log.warning(UNSUPPORTED, user_id=wanted.user_id)  # without the name, which may be anything
            raise HttpError(400, error.code, UNSUPPORTED) from None
        return definition.limits.timeout_s + _GRACE_S

    async def _take_turn(self, wanted: RunRequest, run_id: str, hold_s: float) -> None:
        settings = self._deps.settings
        limit = settings.gateway_agent_runs_of.get(wanted.agent, settings.gateway_agent_runs)
        if not await self._deps.turns.take(self._deps.tenant, wanted.agent, run_id, limit=limit, hold_s=hold_s):
            log.info("run_refused", reason="busy", agent_type=wanted.agent, user_id=wanted.user_id)
            raise HttpError(409, "busy", BUSY)

    async def _status(self, request: Request) -> Response:
        run_id: str = request.path_params["run_id"]
        run = await self._deps.index.run(run_id)
        if run is None:
            agent = self._accepted.agent(run_id) or await self._deps.turns.agent(self._deps.tenant, run_id)
            if agent is None:
                raise HttpError(404, "unknown_run", "no such run")
            run = {"agent_name": agent, "state": "pending"}
        if run["state"] == "pending" and await self._deps.turns.begun(self._deps.tenant, run_id):
            run = {**run, "state": "running"}  # the index knows it as running from its second record on
        ended = await outcome(self._deps, run_id) if run["state"] in ("completed", "failed") else None
        return _json(_shown(run_id, run, ended or {}), 200)

    async def _json(self, request: Request, headers: dict[str, str]) -> Any:
        return await read_json(request, headers, self._deps.settings.gateway_max_body_bytes)


def _shown(run_id: str, run: JsonDict, ended: JsonDict) -> JsonDict:
    return {
        "run_id": run_id,
        "agent_type": run.get("agent_name"),
        "user_id": run.get("user_id"),
        "state": _STATES[run["state"]],
        "result": ended.get("output"),
        "error": ended.get("error") or run.get("error"),
    }


def _text(output: Any) -> str:
    """Free text as it is, anything else as JSON."""
    return output if isinstance(output, str) else orjson.dumps(output).decode()


def _detailed(handler: Handler) -> Handler:
    """Errors that anybody expects, in the shape of these doors."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except HttpError as error:
            problem = error
        except HeadraceError as error:
            problem = from_headrace(error)
            if problem.status == 500:
                raise  # the boundary logs it
        return _json({"detail": problem.message}, problem.status, problem.headers)

    return answer


def _json(value: JsonDict, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type=JSON)
