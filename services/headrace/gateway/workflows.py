"""``/workflows``: storing them, changing them by patches, and asking for a run.

A version never changes; a change is a new version, made by the owner for the version that is live. Runs are started through
``workflow.signals``, so a run that was accepted survives whatever dies after it.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from headrace.gateway.access import speak_for
from headrace.gateway.body import header_map
from headrace.gateway.limits import RateLimits
from headrace.gateway.ports import Deps
from headrace.gateway.problems import HttpError, unavailable
from headrace.gateway.publishing import publish
from headrace.gateway.workflow_parts import (
    PatchBody,
    RollbackBody,
    RunBody,
    answer,
    described,
    read,
    read_value,
    refused,
    store,
)
from headrace.messages.headers import trace_context
from headrace.messages.ids import workflow_run_id
from headrace.messages.workflow import WorkflowSignal, WorkStart
from headrace.observe.logging import get_logger
from headrace.runtime.api import Send
from headrace.toolspecs import SPECS
from headrace.workflows.check import Known
from headrace.workflows.definition import WorkflowDefinition
from headrace.workflows.load import InvalidWorkflow, load_value
from headrace.workflows.patching import patched, read_operations
from headrace.workflows.repository import Change, Stored, WorkflowError
from headrace.workflows.schedule import schedule_of

log = get_logger(__name__)
_TIMES: Final = 5  # of a schedule that are shown


def router(deps: Deps, limits: RateLimits) -> APIRouter:
    """The routes. Their docstrings are the API's documentation."""
    routes = APIRouter(prefix="/workflows", tags=["workflows"])

    @routes.post("", summary="Store a workflow", status_code=201, **described(None))
    async def create(request: Request) -> Response:
        """The body is the definition. `owner` is who may change it later."""
        value = await read_value(request)
        known = await _known(deps)
        try:
            definition = load_value(value, known)
            speak_for(request.scope, definition.owner, "/owner")
            stored = await store(deps).repository.create(deps.tenant, definition, definition.owner)
        except (InvalidWorkflow, WorkflowError) as error:
            raise refused(error) from None
        return answer(_changed(stored), 201)

    @routes.get("", summary="The workflows: the live version of each", **described(None))
    async def list_workflows() -> Response:
        found = await store(deps).repository.all_live(deps.tenant)
        return answer({"workflows": [stored.view(definition=False) for stored in found]})

    @routes.get("/{tag}", summary="One workflow: its definition", **described(None))
    async def get(tag: str, version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None) -> Response:
        """`next_times` has the next times of its schedule, in UTC, if this version is live and has one."""
        stored = await _stored(deps, tag, version)
        due = await store(deps).repository.due(stored, deps.tenant)
        times = schedule_of(stored.definition).upcoming(due, deps.now(), _TIMES)
        return answer(stored.view() | {"next_times": [time.isoformat() for time in times]})

    @routes.get(
        "/{tag}/history", summary="Its versions, the newest first, each with the patch that made it", **described(None)
    )
    async def history(tag: str) -> Response:
        found = await store(deps).repository.history(deps.tenant, tag)
        if not found:
            raise _unknown()
        return answer({"tag": tag, "versions": [stored.view() for stored in found]})

    @routes.post("/{tag}:patch", summary="Change it by JSON Patch: a new version", **described(PatchBody))
    async def patch(tag: str, request: Request) -> Response:
        """All operations or none; the result is checked as a whole. A `base_version` that is not the live one is a 409."""
        wanted = await read(request, PatchBody)
        speak_for(request.scope, wanted.workflow_owner, "/workflow_owner")
        known = await _known(deps)
        change = Change(
            author=wanted.workflow_owner,
            base_version=wanted.base_version,
            description=wanted.description,
            operations=wanted.operations,
            request_key=wanted.idempotency_key,
        )

        def make(live: WorkflowDefinition) -> WorkflowDefinition:
            return load_value(patched(live.document(), read_operations(wanted.operations)), known)

        try:
            stored = await store(deps).repository.change(deps.tenant, tag, "patched", change, make)
        except (InvalidWorkflow, WorkflowError) as error:
            raise refused(error) from None
        return answer(_changed(stored))

    @routes.post("/{tag}:rollback", summary="Make an old version live again, as a new one", **described(RollbackBody))
    async def rollback(tag: str, request: Request) -> Response:
        wanted = await read(request, RollbackBody)
        speak_for(request.scope, wanted.workflow_owner, "/workflow_owner")
        known = await _known(deps)
        change = Change(
            author=wanted.workflow_owner,
            base_version=wanted.base_version,
            description=wanted.description or f"version {wanted.version} again",
        )

        def make(old: WorkflowDefinition) -> WorkflowDefinition:
            return load_value(msgspec.to_builtins(old), known)  # what it names may be gone

        try:
            stored = await store(deps).repository.change(
                deps.tenant, tag, "rolled_back", change, make, from_version=wanted.version
            )
        except (InvalidWorkflow, WorkflowError) as error:
            raise refused(error) from None
        return answer(_changed(stored))

    @routes.post("/{tag}:run", summary="Start a run of it", status_code=202, **described(RunBody))
    async def run(tag: str, request: Request) -> Response:
        """The run keeps the version that it begins with. The same `idempotency_key` is the same run."""
        wanted = await read(request, RunBody)
        speak_for(request.scope, wanted.user_id, "/user_id")
        stored = await _stored(deps, tag, wanted.version)
        limits.request()
        key = wanted.idempotency_key
        run_id = workflow_run_id(deps.tenant, tag, f"request:{key}") if key else str(uuid.uuid4())
        start = WorkStart(tag=tag, version=stored.version, input=wanted.input, user_id=wanted.user_id)
        signal = WorkflowSignal(tenant=deps.tenant, run_id=run_id, id=f"{run_id}:start", kind="start", start=start)
        await publish(deps, [Send(signal, headers=trace_context(header_map(request.scope)))])
        log.info("workflow_accepted", run_id=run_id, workflow=tag, version=stored.version)
        return answer({"run_id": run_id, "version": stored.version, "status_url": f"/workflow-runs/{run_id}"}, 202)

    return routes


async def _known(deps: Deps) -> Known:
    """What a definition may name now."""
    if not deps.catalog_ready():
        raise unavailable("the catalogue of agents")
    granted = {
        tool for agent in deps.catalog.all_live() for tool in agent.tools
    }  # MCP tools too: checked when published
    return Known(deps.catalog, granted | SPECS.keys(), await store(deps).repository.tags(deps.tenant))


async def _stored(deps: Deps, tag: str, version: int | None) -> Stored:
    stored = await store(deps).repository.get(deps.tenant, tag, version)
    if stored is None:
        raise _unknown()
    return stored


def _unknown() -> HttpError:
    return HttpError(404, "unknown_workflow", "no such workflow, or no such version of it", where="tag")


def _changed(stored: Stored) -> dict[str, object]:
    log.info(
        "workflow_changed", workflow=stored.tag, version=stored.version, kind=stored.kind, patch_id=stored.patch_id
    )
    return {"tag": stored.tag, "version": stored.version, "patch_id": stored.patch_id, "kind": stored.kind}
