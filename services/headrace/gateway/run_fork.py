"""``POST /v1/runs/{run_id}/fork``: a new run that goes on from a step of another one, perhaps with something changed there.

The new run's id follows from the run, the step and the edits, and reasoning takes a job id once: asking twice is one run.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from headrace.forks.edits import CantFork, Edits, UnknownRun
from headrace.forks.plan import Asked, Planned
from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.access import decider, speak_for
from headrace.gateway.body import header_map
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps, JsonDict
from headrace.gateway.problems import JSON, HttpError, unavailable
from headrace.gateway.publishing import publish
from headrace.gateway.run_start import parsed, read_json
from headrace.messages.errors import BadMessage, TransientError
from headrace.messages.headers import trace_context
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send

log = get_logger(__name__)


class ForkRequest(BaseModel):
    """Where to leave the run, and what to change there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="The model turn whose tool results the fork goes on from; 0: the job; default: where the run began",
    )
    input: Any = Field(default=None, description="In place of the job's input and prompt; at 0 only")
    prompt: str | None = Field(default=None, min_length=1, description="Likewise; give one of them")
    version: str | None = Field(default=None, max_length=64, description="Of the agent; default: the run's own")
    tool_results: dict[str, Any] = Field(default_factory=dict, description="What calls gave, by call id")
    replay_id: str | None = Field(
        default=None, min_length=1, max_length=128, description="Another fork of the same: its runs bear this name"
    )
    dry_run: bool = Field(default=False, description="Only say what would be taken and what made anew")


class RunFork:
    """The endpoint."""

    def __init__(self, deps: Deps, accepted: AcceptedRuns, limits: RateLimits) -> None:
        self._deps = deps
        self._accepted = accepted
        self._limits = limits

    async def handle(self, request: Request) -> Response:
        headers = header_map(request.scope)
        value = await read_json(request, headers, self._deps.settings.gateway_max_body_bytes)
        wanted = parsed(ForkRequest, value)
        if wanted.input is not None and wanted.prompt is not None:
            raise HttpError(422, "request_schema", "give either input or prompt", where="/input")
        plan = await self._plan(request.path_params["run_id"], wanted, decider(request.scope))
        speak_for(request.scope, plan.job.user_id, "run_id")  # it goes on in the name of the run's user
        answer = _answer(plan)
        if wanted.dry_run:
            return Response(orjson.dumps(answer), 200, media_type=JSON)
        self._limits.request()
        await publish(self._deps, [Send(plan.job, headers=trace_context(headers))])
        self._accepted.add(plan.job.job_id, plan.job.agent)
        log.info("run_forked", run_id=plan.job.job_id, forked_from=plan.origin.run_id, step=plan.origin.step)
        return Response(orjson.dumps(answer), 202, {"Location": answer["status_url"]}, media_type=JSON)

    async def _plan(self, run_id: str, wanted: ForkRequest, by: str) -> Planned:
        if self._deps.forks is None:
            raise unavailable("the records of runs")
        edits = Edits(wanted.input, wanted.prompt, wanted.version, wanted.tool_results)
        try:
            plan = await self._deps.forks.plan(run_id, Asked(wanted.at, edits, wanted.replay_id, by))
        except UnknownRun as error:
            raise HttpError(404, "unknown_run", str(error), where=error.where) from None
        except CantFork as error:
            status = 409 if error.where in ("/at", "run_id") else 422
            raise HttpError(status, "cant_fork", str(error), where=error.where) from None
        except BadMessage as error:
            raise HttpError(409, "cant_fork", "a record of the run can't be read", where="run_id") from error
        except TransientError:
            raise unavailable("the records of the run") from None
        self._know_version(plan, wanted)
        return plan

    def _know_version(self, plan: Planned, wanted: ForkRequest) -> None:
        if wanted.version is None:
            return
        if not self._deps.catalog_ready():
            raise unavailable("the catalogue of agents")
        if self._deps.catalog.get(plan.job.agent, wanted.version) is None:
            text = f"agent {plan.job.agent} has no version {wanted.version}"
            raise HttpError(400, "unknown_agent", text, where="/version")


def _answer(plan: Planned) -> JsonDict:
    facts = plan.facts()
    return {**facts, "status_url": f"/v1/runs/{facts['run_id']}"}
