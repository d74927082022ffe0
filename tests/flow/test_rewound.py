"""Groups that are set back to the beginning after a run has ended: no model is asked and no tool is called again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.local.endpoints import Endpoints
from headrace.pipeline import STAGES
from headrace.runtime.admin import Admin
from headrace.runtime.groups import Group
from headrace.runtime.ranges import Ranges
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.flow.test_waits import paying, till
from tests.support.json_server import JsonServer
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

__all__ = ["till"]
pytestmark = pytest.mark.xdist_group("waits")
AGENT = """
name: buyer
version: 1.0.0
category: test
description: Buys.
system_prompt: You buy.
model: openai:gpt-4o
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
"""
SERVICES = ("gateway", "reasoning", "tools", "persistence")
KEPT = ("tool.calls", "tool.results", "agent.results", "agent.jobs", "reasoning.dlq", "tools.dlq")


@pytest.fixture(scope="module")
def simulator(till: JsonServer) -> Iterator[Simulator]:
    call = {"tool_calls": [{"name": "execute_pipeline", "arguments": paying(till, "/buy")}]}
    rules: list[dict[str, Any]] = [
        {"match": {"turn": 0}, "reply": call},
        {"match": {"turn": 1}, "reply": {"text": "bought"}},
    ]
    with Simulator(Script.model_validate({"rules": rules})) as simulator:
        yield simulator


def test_a_group_that_is_set_back_repeats_no_effect(
    stack: Endpoints, till: JsonServer, simulator: Simulator, tmp_path: Path
) -> None:
    environment = {
        "HEADRACE_MODEL": "offline",
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": simulator.openai_base_url,
        "HEADRACE_EGRESS_ALLOW_PRIVATE": till.address,
        "HEADRACE_TOOLS_PIPELINE_CACHE": "off",  # or a second call would be answered without one
    }
    (tmp_path / "buyer.yaml").write_text(AGENT)
    with (
        own_database(stack.database_url) as url,
        running_mesh(stack, unique_namespace(), url, services=SERVICES, apart=(), environment=environment) as mesh,
    ):
        mesh.cli("agents", "publish", str(tmp_path / "buyer.yaml"))
        mesh.await_agents("buyer")
        asked = mesh.gateway.post("/v1/runs", json={"agent": "buyer", "prompt": "Buy one."}).json()["run_id"]
        assert mesh.run(asked)["state"] == "completed"
        until(lambda: not lag(mesh, "persistence"), 30, "the index has all records")
        before = what_there_is(mesh, till, simulator, asked)
        assert (before["paid"], before["asked"]) == (1, 2)
        mesh.stop("gateway")  # all of them: they share a process
        for service in ("reasoning", "tools"):
            Group(mesh.settings, STAGES[service].group).reset(beginning(mesh, service))
        mesh.start(*SERVICES, together=SERVICES)
        for service in ("reasoning", "tools", "persistence"):
            until(lambda service=service: not lag(mesh, service), 60, f"{service} has read everything again")
        assert what_there_is(mesh, till, simulator, asked) == before
        assert "record_of_ended_run" in mesh.log("reasoning")


def what_there_is(mesh: Mesh, till: JsonServer, simulator: Simulator, run: str) -> dict[str, Any]:
    records = {topic: extent.partitions for topic, extent in Ranges(mesh.settings, "test").extents(KEPT).items()}
    shown = mesh.gateway.get(f"/v1/runs/{run}").json()
    return {"paid": len(till.asked), "asked": len(simulator.requests), "run": json.dumps(shown), "records": records}


def beginning(mesh: Mesh, service: str) -> dict[tuple[str, int], int]:
    whole = Ranges(mesh.settings, "test").extents(STAGES[service].consumes)
    return {(topic, number): first for topic, one in whole.items() for number, (first, _) in one.partitions.items()}


def lag(mesh: Mesh, service: str) -> int:
    stage = STAGES[service]
    return sum(one.lag for one in Admin(mesh.settings).group_lag(stage.group, stage.consumes).values())
