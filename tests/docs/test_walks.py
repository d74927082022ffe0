"""Every command of the guides, run: as a reader would, from top to bottom, and each must end well."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.local.endpoints import VARIABLES, Endpoints
from headrace.messages.codec import Encoded
from headrace.settings import MeshSettings
from tests.contract.kafka import write
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.walk import Walk, missing_programs
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.ports import free_port

SHELL = blocks("sh")
REBUILT = ("runs", "run_steps", "agent_results", "events")  # docs/operating.md, "Rebuild the index"
OWN_SERVERS = ("broker-1:9092", "http://collector:4318")
NOT_WALKED = {
    "CONTRIBUTING.md": "the verbs that run this very test",
    "docs/security.md": "tests/auth/test_commands.py runs its commands",
    "docs/deploy-compose.md": "needs Docker; tests/deploy runs the services of the file",
    "docs/webhooks.md": "names a gateway elsewhere; run by tests/cli/test_webhooks.py and tests/gateway/test_redelivery.py",
    "docs/outside.md": "needs servers of others; run by tests/mcp and tests/flow/test_protocols.py",
    "docs/deploy-kubernetes.md": "needs a cluster; tests/deploy_k8s renders, checks and runs the pods' commands",
    "docs/budgets.md": "its commands change what all runs may do; run by tests/budgets and tests/containment",
    "docs/forks.md": "needs runs with steps; run by tests/flow/test_waits.py",
    "docs/sessions.md": "needs a model that remembers; run by tests/flow/test_sessions.py",
    "docs/evaluators.md": "needs a history and another version; run by tests/replay/test_shadow_evaluators.py",
    "docs/shadow.md": "needs a history and another version; run by tests/replay/test_shadow.py",
    "docs/promotion.md": "needs another version and an admin; run by tests/flow/test_promotion.py",
    "docs/waits.md": "needs a run that waits; run by tests/flow/test_waits.py",
    "docs/workflows.md": "run by tests/workflows/test_flow.py, with a model that patches",
}
NOT_WALKED_COMMANDS = {
    "make demo": "tests/cli/test_demo.py",
    "headrace replay reprice": "needs runs of a model that costs money; tests/replay/test_reprice.py",
    "docker compose": "needs Docker",
    "headrace replay run": "needs runs of these names; tests/replay/test_rerun.py",
}

needs_programs = pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")


def of(page: str, *, own_servers: bool = False) -> list[Block]:
    """The blocks of a page that are walked on the embedded mesh, or those that are for servers of one's own."""
    return [
        block
        for block in SHELL
        if str(block.page.relative_to(ROOT)) == page
        and not any(command in block.text for command in NOT_WALKED_COMMANDS)
        and own_servers is any(server in block.text for server in OWN_SERVERS)
    ]


EMBEDDED = (
    "docs/quickstart.md",
    "README.md",
    "docs/producing-and-consuming.md",
    "docs/triggers.md",
    "docs/running-agents.md",
    "docs/pipelines.md",
    "docs/replay.md",
)
OWN = ("README.md", "docs/operating.md", "docs/observability.md")


def test_every_block_is_walked_or_has_its_reason() -> None:
    walked = {str(block) for page in EMBEDDED for block in of(page)}
    walked |= {str(block) for page in OWN for block in of(page, own_servers=True)}
    walked |= {str(block) for block in of("docs/operating.md")}
    left = [block for block in SHELL if str(block) not in walked]
    for block in left:
        page = str(block.page.relative_to(ROOT))
        assert page in NOT_WALKED or any(command in block.text for command in NOT_WALKED_COMMANDS), block
    assert len(walked) > 20


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Walk]:
    """On a machine that names no servers, with ports that are free."""
    gateway, kafka = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES.values()}
    environment |= {"HEADRACE_GATEWAY_PORT": str(gateway), "ANTHROPIC_API_KEY": "", "OPENAI_API_KEY": ""}
    places = {
        "127.0.0.1:8080": f"127.0.0.1:{gateway}",
        "127.0.0.1:9092": f"127.0.0.1:{kafka}",
        "headrace up --detach": f"headrace up --detach --kafka-port {kafka}",
    }
    walk = Walk(tmp_path, environment, places)
    try:
        yield walk
    finally:
        headrace(walk, "down", check=False)


def headrace(walk: Walk, *arguments: str, check: bool = True) -> str:
    argv = [sys.executable, "-m", "headrace", *arguments]
    done = subprocess.run(argv, cwd=walk.folder, env=walk.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def dead_letter(walk: Walk, service: str) -> str:
    """The id of a dead letter of ``service``, which a record that nobody can read makes."""
    topic = {"ingest": "ingest.raw", "reasoning": "agent.jobs"}[service]
    settings = MeshSettings(
        kafka_bootstrap_servers=walk.environment.get("KAFKA_BOOTSTRAP_SERVERS") or walk.places["127.0.0.1:9092"],
        topic_prefix=walk.environment.get("HEADRACE_TOPIC_PREFIX", ""),
    )
    write(settings, [Encoded(topic, b"poison", b"not JSON", [])])

    def first() -> str | None:
        entries = json.loads(headrace(walk, "dlq", "list", service, "--json"))
        return str(entries[0]["id"]) if entries else None

    return until(first, 60, f"{service} has a dead letter")


@needs_programs
@pytest.mark.xdist_group("up")
def test_the_quick_start_the_readme_and_the_pages_on_topics_and_on_replay(reader: Walk) -> None:
    """One after the other, on the mesh that the quick start starts, and at last stops."""
    *quick_start, stop = of("docs/quickstart.md")
    for block in quick_start:
        if "dlq show ingest 0/0" in block.text:
            reader.places["ingest 0/0"] = f"ingest {dead_letter(reader, 'ingest')}"
        reader.run(block)
    start, *readme = of("README.md")
    assert calls(start) <= {call for block in quick_start for call in calls(block)}, (
        "the mesh is up by the same commands"
    )
    for block in readme:
        reader.run(block)
    for block in blocks("python"):
        if block.page.name == "README.md":
            script = block.text.replace("127.0.0.1:9092", reader.places["127.0.0.1:9092"])
            subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    for page in ("docs/producing-and-consuming.md", "docs/triggers.md", "docs/running-agents.md"):
        for block in of(page):
            reader.run(block)
    for block in blocks("python"):
        if block.info == "python client":
            run_code(reader, block)
    runs = json.loads(headrace(reader, "runs", "list", "--json"))["runs"]
    assert {"job-1", "job-2", "kcat-1"} <= {run["run_id"] for run in runs}

    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    reader.places |= {"2026-11-01T08:00:00Z": an_hour_ago.isoformat(), "agent.jobs:0:1200": "agent.jobs:0:0"}
    for block in of("docs/replay.md"):
        reader.run(block)
    reader.run(stop)


def run_code(walk: Walk, block: Block) -> None:
    environment = {**walk.environment, "HEADRACE_GATEWAY_URL": f"http://{walk.places['127.0.0.1:8080']}"}
    argv = [sys.executable, "-W", "error", "-c", block.text]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{block}: {done.stderr}"
    assert done.stdout.strip(), block


def calls(block: Block) -> set[str]:
    """The lines of a block without their comments."""
    return {line.partition(" #")[0].strip() for line in block.text.splitlines()}


def test_operating_on_servers_of_ones_own(stack: Endpoints, namespace: str, database_url: str, tmp_path: Path) -> None:
    services = ("ingest", "reasoning", "persistence", "audit")
    with running_mesh(stack, namespace, database_url, services=services, apart=("persistence",)) as mesh:
        walk = own_servers(mesh, tmp_path)
        lines = run_client(mesh)
        assert [line.split(": ")[0] for line in lines] == [
            "assistant@1.2.0 completed",
            "issue-classifier@1.0.0 completed",
        ]
        assert all("offline" in line for line in lines), lines
        runs = until(lambda: finished_runs(mesh, 2), 30, "both runs are indexed")
        entry = dead_letter(walk, "reasoning")
        walk.places |= {
            "reasoning 0/12": f"reasoning {entry}",
            "ca780040-2607-5f9b-8977-92c41452a7f0": runs[0]["run_id"],
        }
        for block in of("docs/operating.md"):
            if "replay rebuild" in block.text:
                mesh.stop("persistence")
            walk.run(block)

        for page in OWN:
            for block in of(page, own_servers=True):
                if "kafka-consumer-groups.sh" in block.text:
                    asyncio.run(empty(database_url))
                    assert finished_runs(mesh, 0) == []
                elif mesh.processes:
                    mesh.stop(*mesh.processes)  # the page's processes have the same instance ids
                walk.run(block)
        mesh.start("persistence")
        assert until(lambda: finished_runs(mesh, 2), 30, "both runs are indexed again") == runs


def own_servers(mesh: Mesh, folder: Path) -> Walk:
    environment = mesh.environment
    kafka, registry, database = (environment[name] for name in VARIABLES.values())
    places = {
        "broker-1:9092,broker-2:9092": kafka,
        "broker-1:9092": kafka,
        "http://registry:8081": registry,
        "postgresql://headrace:secret@db:5432/headrace": database,
        "postgresql://...": database,
        "http://collector:4318": f"http://127.0.0.1:{free_port()}",
        "HEADRACE_OPS_PORT=9100 ": "",
        "staging.": f"{environment['HEADRACE_TOPIC_PREFIX']}staging.",
        "--group headrace.persistence": f"--group {environment['HEADRACE_TOPIC_PREFIX']}headrace.persistence",
    }
    return Walk(folder, environment, places)


def finished_runs(mesh: Mesh, count: int) -> list[dict[str, Any]] | None:
    """The runs, if exactly ``count`` of them are there and all are completed."""
    runs: list[dict[str, Any]] = json.loads(mesh.cli("runs", "list", "--json").stdout)["runs"]
    return runs if len(runs) == count and {run["state"] for run in runs} <= {"completed"} else None


def run_client(mesh: Mesh) -> list[str]:
    client = ROOT / "docs" / "examples" / "client.py"
    done = subprocess.run(
        [sys.executable, str(client)], env=mesh.environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


async def empty(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"TRUNCATE {', '.join(REBUILT)}")
    finally:
        await connection.close()
