"""What the documents tell to do with a running mesh, done: the example client, and the rebuild of the index."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import asyncpg
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.local.endpoints import Endpoints
from headrace.pipeline import STAGES
from headrace.settings import MeshSettings
from headrace.topology.spec import load_all
from tests.docs.pages import ROOT
from tests.support.mesh import Mesh, running_mesh, until

REBUILT = ("runs", "run_steps", "agent_results", "events")  # docs/operating.md, "Rebuild the index"


async def test_the_client_gets_both_results_and_the_index_can_be_rebuilt(
    stack: Endpoints, namespace: str, database_url: str
) -> None:
    with running_mesh(stack, namespace, database_url, services=("ingest", "reasoning", "persistence")) as mesh:
        lines = run_client(mesh)
        assert [line.split(": ")[0] for line in lines] == [
            "assistant@1.0.0 completed",
            "issue-classifier@1.0.0 completed",
        ]
        assert all("offline" in line for line in lines), lines

        runs = until(lambda: finished_runs(mesh, 2), 30, "both runs are indexed")
        mesh.stop("persistence")
        await empty(database_url)
        assert finished_runs(mesh, 0) == []
        to_the_beginning(mesh.settings)
        mesh.start("persistence")
        assert until(lambda: finished_runs(mesh, 2), 30, "both runs are indexed again") == runs


def run_client(mesh: Mesh) -> list[str]:
    client = ROOT / "docs" / "examples" / "client.py"
    done = subprocess.run(
        [sys.executable, str(client)], env=mesh.environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def finished_runs(mesh: Mesh, count: int) -> list[dict[str, Any]] | None:
    """The runs, if at least ``count`` of them are completed and nothing but them is there."""
    runs: list[dict[str, Any]] = json.loads(mesh.cli("runs", "list", "--json").stdout)["runs"]
    return runs if len(runs) == count and {run["state"] for run in runs} <= {"completed"} else None


async def empty(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"TRUNCATE {', '.join(REBUILT)}")
    finally:
        await connection.close()


def to_the_beginning(settings: MeshSettings) -> None:
    """What ``kafka-consumer-groups.sh --reset-offsets --to-earliest`` asks of the broker."""
    stage = STAGES["persistence"]
    specs = load_all()
    offsets = [
        TopicPartition(settings.physical_topic(topic), partition, 0)
        for topic in stage.consumes
        for partition in range(specs[topic].partitions)
    ]
    group = ConsumerGroupTopicPartitions(settings.topic_prefix + stage.group, offsets)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for future in admin.alter_consumer_group_offsets([group]).values():
        future.result(20)
