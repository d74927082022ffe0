"""``delegate_to_agent`` for agents on Kubernetes, as models call it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.kubejobs.job import job_name
from headrace.tools.api import CallParked, ToolFailure
from headrace.tools.delegate.kubernetes import KubernetesAgent, kubernetes_agents
from headrace.tools.delegate.tool import DelegateToAgent
from headrace.tools.registry import ToolRegistry
from tests.kubejobs.test_cluster import World, world
from tests.kubejobs.test_job import CALLER, CODE, CUSTOM, made
from tests.tools.helpers import granted

__all__ = ["world"]  # a fixture

CONTEXT = granted(
    tools=("delegate_to_agent",),
    tenant=CALLER.tenant,
    run_id=CALLER.run_id,
    idempotency_key=CALLER.idempotency_key,
    remaining_s=CALLER.remaining_s,
)


async def called(arguments: dict[str, Any], **changes: Any) -> Any:
    async with kubernetes_agents(made(**changes)) as targets:
        registry = ToolRegistry([DelegateToAgent(targets)])
        return (await registry.run("delegate_to_agent", arguments, CONTEXT)).content


async def test_without_a_cluster_the_outcome_is_the_job() -> None:
    outcome = await called(CUSTOM | {"config": {"timeout_s": 7}})
    assert (outcome["state"], outcome["job"]) == ("dry_run", job_name(CALLER))
    assert outcome["spec"]["spec"]["activeDeadlineSeconds"] == 7
    image = outcome["spec"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == CUSTOM["container_image"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (CUSTOM | {"container_image": "evil:1"}, "not allowed"),
        (CODE | {"agent_type": "bash"}, "/agent_type"),
        (CODE | {"config": {"host_network": True}}, "/config/host_network"),
        (CODE | {"command": "sh"}, "Additional properties"),
    ],
)
async def test_wrong_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolFailure, match=said) as caught:
        await called(arguments)
    assert caught.value.type == "invalid_arguments"


async def test_with_a_cluster_the_job_is_submitted_once_and_the_call_waits_for_it(world: World) -> None:
    target = KubernetesAgent("code_interpreter", made(), world.cluster)
    for _ in range(2):
        with pytest.raises(CallParked) as parked:
            await target.start(CODE["inputs"], {"timeout_s": 7}, CONTEXT._replace(now_ms=1_000))
    assert (parked.value.kind, parked.value.kube_job) == ("kube_job", job_name(CALLER))
    assert parked.value.deadline_ms == 1_000 + 7_000 + 30_000, "its own end, and time to see it"
    assert list(world.api.jobs) == [job_name(CALLER)]


async def test_failures_are_the_models_to_read(world: World) -> None:
    target = KubernetesAgent("code_interpreter", made(), world.cluster)
    world.api.refuse = 403, "Forbidden"
    with pytest.raises(ToolFailure, match="Forbidden") as caught:
        await target.start(CODE["inputs"], {}, CONTEXT)
    assert (caught.value.type, caught.value.retryable) == ("cluster", False)
