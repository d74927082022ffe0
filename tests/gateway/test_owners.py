"""Whom a credential may speak for: every door where a request names an owner or a user, with bound keys and others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from headrace.auth import Role
from headrace.auth.store import AuthStore
from headrace.forks.plan import Asked, Planned, planned
from headrace.gateway.app import create_app
from headrace.gateway.ports import WorkflowStore
from headrace.messages.job import Job
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from headrace.workflows.repository import WorkflowRepository
from headrace.workflows.runs import WorkflowRuns
from tests.auth.credentials import Issuer
from tests.gateway.support import REVIEWER, Gateway
from tests.postgres.database import empty_pool, pool
from tests.workflows.support import task

__all__ = ["empty_pool", "pool"]

ADA, BOB = frozenset({"ada"}), frozenset({"bob", "carl"})
PATCH = [{"op": "replace", "path": "/description", "value": "Changed."}]
WORKFLOW = {"owner": "ada", "nodes": [task("fetch")]}
RUN = {"agent": "pr-reviewer", "prompt": "Look."}
DOORS: dict[str, tuple[str, dict[str, Any], str]] = {  # path, a body that names ada, where it does
    "create": ("/workflows", WORKFLOW | {"tag": "another"}, "/owner"),
    "patch": (
        "/workflows/main:patch",
        {"workflow_owner": "ada", "base_version": 1, "operations": PATCH},
        "/workflow_owner",
    ),
    "roll back": (
        "/workflows/main:rollback",
        {"workflow_owner": "ada", "base_version": 1, "version": 1},
        "/workflow_owner",
    ),
    "run a workflow": ("/workflows/main:run", {"user_id": "ada"}, "/user_id"),
    "run": ("/v1/runs", RUN | {"user_id": "ada"}, "/user_id"),
    "older run": ("/agents/run", {"agent_type": "pr-reviewer", "user_id": "ada", "input": {"title": "a"}}, ""),
    "chat": ("/test/chat", RUN | {"user_id": "ada"}, "/user_id"),
    "fork": ("/v1/runs/run-1/fork", {}, "run_id"),
}


class Records:
    """One run, of ada's."""

    async def plan(self, run_id: str, asked: Asked) -> Planned:
        return planned(Job(job_id=run_id, agent="pr-reviewer", prompt="Look.", user_id="ada"), "1.2.0", [], asked)


@pytest.fixture
def issuer(pool: asyncpg.Pool) -> Issuer:
    return Issuer(AuthStore(pool))


@pytest.fixture
async def gateway(pool: asyncpg.Pool, issuer: Issuer) -> Gateway:
    made = Gateway(authenticator=issuer.authenticator, gateway_max_wait_s=0.05, gateway_agent_runs=99)
    store = WorkflowStore(WorkflowRepository(pool), WorkflowRuns(pool))
    known = catalog_of([*builtin_definitions(), REVIEWER])
    made.deps = replace(made.deps, workflows=store, catalog=known, forks=Records())
    made.app = create_app(made.deps)
    assert (await ask(made, await issuer.key(), "/workflows", WORKFLOW | {"tag": "main"}))[0] == 201
    return made


async def ask(gateway: Gateway, credential: str, path: str, body: Any) -> tuple[int, Any]:
    async with gateway.client() as client:
        answer = await client.post(path, json=body, headers={"authorization": f"Bearer {credential}"})
    return answer.status_code, answer.json()


@pytest.mark.parametrize("door", DOORS)
async def test_a_credential_speaks_for_those_it_is_bound_to(gateway: Gateway, issuer: Issuer, door: str) -> None:
    path, body, where = DOORS[door]
    for make in (issuer.key, issuer.token):
        status, said = await ask(gateway, await make(Role.DEVELOPER, owners=BOB), path, body)
        assert status == 403, said
        assert "forbidden" in str(said) or "may not act" in str(said)
        assert not where or said["error"]["where"] == where
    assert gateway.publisher.sends == []
    allowed = [
        await issuer.key(Role.DEVELOPER, owners=ADA | BOB),
        await issuer.token(Role.DEVELOPER),  # bound to nobody: it says whom it speaks for
        await issuer.key(Role.ADMIN, owners=BOB),
    ]
    for credential in allowed:
        status, said = await ask(gateway, credential, path, body)
        assert status not in (401, 403), said


@pytest.mark.parametrize("door", ["run a workflow", "run"])
async def test_one_that_is_bound_need_not_name_anybody(gateway: Gateway, issuer: Issuer, door: str) -> None:
    path, body, _ = DOORS[door]
    nobody = {name: value for name, value in body.items() if name != "user_id"}
    status, _ = await ask(gateway, await issuer.key(Role.DEVELOPER, owners=ADA), path, nobody)
    assert status == 202
    assert len(gateway.publisher.sends) == 1


async def test_who_speaks_for_several_still_changes_each_one_s_own(gateway: Gateway, issuer: Issuer) -> None:
    path, body, _ = DOORS["patch"]
    key = await issuer.key(Role.DEVELOPER, owners=ADA | BOB)
    status, said = await ask(gateway, key, path, body | {"workflow_owner": "bob"})
    assert (status, said["error"]["code"]) == (403, "not_the_owner")
