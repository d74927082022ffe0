"""One mesh for all tests of what an obedient model is let do, and of what it may spend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.local.endpoints import Endpoints
from headrace.pipeline import STAGES
from headrace.simulator.server import Simulator
from tests.containment import granted
from tests.containment.hostile import CANARIES, OBEDIENT, Hostile, Server
from tests.support.mesh import running_mesh
from tests.support.stack import own_database, unique_namespace


@pytest.fixture(scope="package")
def hostile(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    folder = tmp_path_factory.mktemp("granted")
    with (
        Server("127.0.0.1") as allowed,
        Server("127.0.0.2") as attacker,
        Server("127.0.0.1") as cluster,
        Simulator(OBEDIENT) as simulator,
        own_database(stack.database_url) as database_url,
    ):
        environment = CANARIES | {
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "HEADRACE_TOOLS_PIPELINE_CACHE": "off",  # each call that is made is to be seen
            "HEADRACE_REASONING_BUDGET_LEASE_S": "4",  # or what a killed reasoner had taken is held back for a minute
            "HEADRACE_EGRESS_ALLOW_PRIVATE": f"{allowed.address},{attacker.address}",  # the allow-list alone has to hold
        }
        environment |= granted.environment(folder, allowed, attacker, cluster)
        with running_mesh(stack, unique_namespace(), database_url, services=(), environment=environment) as mesh:
            mesh.environment["HEADRACE_ORCHESTRATOR_API_URL"] = f"http://127.0.0.1:{mesh.gateway_port}"
            mesh.cli("mcp", "pin")
            mesh.start(*STAGES, together=set(STAGES) - {"reasoning"})
            yield Hostile(mesh, simulator, allowed, attacker, cluster, folder)
