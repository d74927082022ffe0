"""``/workflow-runs``: what runs of workflows are doing, and what is said to them. Everything that is said is a record first."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import HttpError
from headrace.gateway.publishing import publish
from headrace.gateway.workflow_parts import SignalBody, TaskBody, answer, described, read, store
from headrace.messages.workflow import NamedSignal, WorkDone, WorkError, WorkflowSignal
from headrace.runtime.api import Send
from headrace.workflows.state import ENDED
from headrace.workflows.views import asks_outside

Status = Literal["running", "paused", "compensating", "completed", "failed", "cancelled"]
_STOPPING: Final = frozenset({"pause", "cancel"})  # never refused by a rate: they are what helps against too much
Name = Annotated[str, Path(min_length=1, max_length=128)]


def router(deps: Deps, limits: RateLimits) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/workflow-runs", tags=["workflows"])

    @routes.get("", summary="Runs of workflows, newest first", **described(None))
    async def list_runs(
        tag: Annotated[str | None, Query(max_length=64)] = None,
        status: Status | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        return answer({"runs": await store(deps).runs.newest(deps.tenant, tag=tag, status=status, limit=limit)})

    @routes.get("/{run_id}", summary="One run: its status, and each node's", **described(None))
    async def get(run_id: Name) -> Response:
        """A run shows up here moments after it was accepted. `work_id` of an agent's or a tool's node is a run of `/v1/runs`."""
        return answer(await _run(deps, run_id))

    @routes.post("/{run_id}:pause", summary="Start nothing new in it", status_code=202, **described(None))
    async def pause(run_id: Name) -> Response:
        """What is under way goes on, and is kept."""
        return await _say(deps, limits, run_id, kind="pause")

    @routes.post("/{run_id}:resume", summary="Go on with a paused run", status_code=202, **described(None))
    async def resume(run_id: Name) -> Response:
        return await _say(deps, limits, run_id, kind="resume")

    @routes.post(
        "/{run_id}:cancel", summary="End it: stop what is under way, and compensate", status_code=202, **described(None)
    )
    async def cancel(run_id: Name) -> Response:
        return await _say(deps, limits, run_id, kind="cancel")

    @routes.post(
        "/{run_id}/signals/{name}",
        summary="Send a signal to a node that waits",
        status_code=202,
        **described(SignalBody),
    )
    async def signal(run_id: Name, name: Name, request: Request) -> Response:
        """One that comes before its node waits is kept for it; one that no node is for is dropped."""
        wanted = await read(request, SignalBody)
        return await _say(deps, limits, run_id, kind="event", signal=NamedSignal(name=name, payload=wanted.payload))

    @routes.post("/{run_id}/tasks/{work_id}", summary="Say how a task ended", status_code=202, **described(TaskBody))
    async def task(run_id: Name, work_id: Name, request: Request) -> Response:
        """The first answer to a task counts."""
        wanted = await read(request, TaskBody)
        await _check_task(deps, run_id, work_id)
        error = WorkError(type=wanted.error) if wanted.error else None
        done = WorkDone(work_id=work_id, output=wanted.output, error=error)
        return await _say(deps, limits, run_id, kind="finished", done=done)

    return routes


async def _run(deps: Deps, run_id: str) -> dict[str, Any]:
    run = await store(deps).runs.get(deps.tenant, run_id)
    if run is None:
        raise HttpError(404, "unknown_run", "no such run of a workflow", where="run_id")
    return run


async def _check_task(deps: Deps, run_id: str, work_id: str) -> None:
    """What an agent or a tool does is answered by them alone: raises ``HttpError`` 404 for work that is no task."""
    run = await _run(deps, run_id)
    stored = await store(deps).repository.get(deps.tenant, run["tag"], run["version"])
    tasks = {node.id for node in stored.definition.nodes if asks_outside(node)} if stored else set()
    if not any(work["work_id"] == work_id for name in tasks for work in run["nodes"][name]["work"]):
        raise HttpError(404, "unknown_task", "no such task of this run", where="work_id")


async def _say(deps: Deps, limits: RateLimits, run_id: str, **what: Any) -> Response:
    """Returns when it is durable; what comes of it is seen at the run."""
    run = await _run(deps, run_id)
    if run["status"] in ENDED:
        raise HttpError(409, "run_ended", f"the run has ended: {run['status']}", where="run_id")
    if what["kind"] not in _STOPPING:
        limits.request()
    signal = WorkflowSignal(tenant=deps.tenant, run_id=run_id, id=str(uuid.uuid4()), **what)
    await publish(deps, [Send(signal)])
    return answer({"run_id": run_id, "status_url": f"/workflow-runs/{run_id}"}, 202)
