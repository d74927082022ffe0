"""Every service of docker-compose.yml runs with exactly the environment that it has there, in the image's virtual environment.

Real Kafka, registry and Postgres stand for Redpanda and Postgres; only addresses, ports and the topic prefix are replaced. One
event goes through, and what the services then say to Prometheus is held against every expression of deploy/.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.local.endpoints import Endpoints
from headrace.samples import samples
from tests.deploy import compose, expressions
from tests.support.mesh import until
from tests.support.ports import free_port
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("image")

READY_SECONDS = 90
OTHERS = {  # exporters' own metrics, and where they come from
    "up": "Prometheus itself, for each target",
    "node_cpu_seconds_total": "node-exporter",
    "node_filesystem_avail_bytes": "node-exporter",
    "node_filesystem_size_bytes": "node-exporter",
    "node_memory_MemAvailable_bytes": "node-exporter",
    "node_memory_MemTotal_bytes": "node-exporter",
    "node_network_receive_bytes_total": "node-exporter",
    "node_network_transmit_bytes_total": "node-exporter",
    "redpanda_kafka_request_bytes_total": "Redpanda, /public_metrics",
    "redpanda_memory_available_memory": "Redpanda, /public_metrics",
    "redpanda_storage_disk_free_bytes": "Redpanda, /public_metrics",
    "redpanda_storage_disk_total_bytes": "Redpanda, /public_metrics",
}
NOT_WITHOUT_TROUBLE = {
    "budget_used_ratio",  # a budget
    "headrace_budget_refusals_total",
    "headrace_claim_checks_total",  # a large value
    "headrace_dead_letters_total",
    "headrace_gateway_limited_total",  # a limit
    "headrace_retries_total",
    "headrace_spans_total",  # a trace collector
    "headrace_tool_calls_total",  # a model that calls tools
    "headrace_tool_call_seconds",
    "headrace_memory_limit_bytes",  # a container
    "headrace_paused_partitions",  # backpressure
}
TARGET_LABELS = {"job", "instance", "le"}


@dataclass
class Running:
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    log: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.environment['HEADRACE_OPS_PORT']}{path}"


@dataclass
class Mesh:
    image: Path
    root: Path
    services: dict[str, Running]
    prepared: str

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.services['gateway'].environment['HEADRACE_GATEWAY_PORT']}"


def replaced(name: str, addresses: dict[str, str]) -> dict[str, str]:
    """The container's environment, with this machine's addresses and ports. No variable is added but PATH and the prefix."""
    environment = {key: str(value) for key, value in compose.services()[name]["environment"].items()}
    assert set(addresses) - {"PATH", "HEADRACE_TOPIC_PREFIX"} <= set(environment)
    ports = {key: str(free_port()) for key in environment if key in ("HEADRACE_OPS_PORT", "HEADRACE_GATEWAY_PORT")}
    hosts = {key: "127.0.0.1" for key, value in environment.items() if value == "0.0.0.0"}
    return environment | addresses | ports | hosts


@pytest.fixture(scope="module")
def mesh(stack: Endpoints, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("compose")
    work = folder / "root"
    work.mkdir(mode=0o555)
    services: dict[str, Running] = {}
    with own_database(stack.database_url) as database_url:
        addresses = {
            "PATH": str(image / "bin"),
            "HEADRACE_TOPIC_PREFIX": unique_namespace(),
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
            "DATABASE_URL": database_url,
        }
        try:
            argv = ["headrace", *compose.services()["prepare"]["command"]]
            env = replaced("prepare", addresses)
            done = subprocess.run(
                [image / "bin" / argv[0], *argv[1:]], env=env, cwd=work, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            for name, service in compose.mesh().items():
                log, env = folder / f"{name}.log", replaced(name, addresses)
                with log.open("wb") as out:
                    argv = [str(image / "bin/headrace"), *service["command"]]
                    services[name] = Running(
                        env, subprocess.Popen(argv, env=env, cwd=work, stdout=out, stderr=out), log
                    )
            yield Mesh(image, work, services, done.stdout)
        finally:
            for running in services.values():
                running.process.kill()
                running.process.wait()


def healthy(mesh: Mesh, name: str) -> int:
    """The exit code of the container's health check."""
    test = compose.services()[name]["healthcheck"]["test"]
    assert test[0] == "CMD"
    return subprocess.run(
        [mesh.image / "bin" / test[1], *test[2:]], env=mesh.services[name].environment, capture_output=True
    ).returncode


def test_the_one_shot_prepares(mesh: Mesh) -> None:
    assert "agent.jobs" in mesh.prepared
    assert "reasoning.dlq" in mesh.prepared


@pytest.mark.parametrize("name", compose.mesh())
def test_the_service_is_ready_and_its_health_check_passes(mesh: Mesh, name: str) -> None:
    running = mesh.services[name]
    assert running.environment["HEADRACE_GROUP_PROTOCOL"] == "classic"

    def ready() -> bool:
        assert running.process.poll() is None, f"{name} ended:\n{running.log.read_text()[-3000:]}"
        return healthy(mesh, name) == 0

    until(ready, READY_SECONDS, f"{name} is healthy: {running.log.read_text()[-500:]}")
    path = compose.services()[name]["healthcheck"]["test"][-1]
    assert httpx2.get(running.url(path), trust_env=False).status_code == 200


def test_an_event_becomes_a_result(mesh: Mesh) -> None:
    sample = next(one for one in samples("compose") if one.name == "ticket-double-charge")
    key = json.loads(inside(mesh, "auth", "keys", "create", "--name", "test", "--role", "developer", "--json"))["key"]
    with httpx2.Client(base_url=mesh.gateway, trust_env=False, headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/healthz").status_code == 200
        answer = client.post(sample.path, content=sample.body, headers=dict(sample.headers))
        assert answer.status_code == 202, answer.text
        until(
            lambda: [run for run in client.get("/v1/runs").json()["runs"] if run["state"] == "completed"],
            60,
            "the run is completed",
        )


def test_commands_of_operation_work_inside_a_container(mesh: Mesh) -> None:
    for arguments in (["runs", "list"], ["dlq", "list"], ["topics", "diff"]):
        inside(mesh, *arguments)


def inside(mesh: Mesh, *arguments: str) -> str:
    """What a command prints, run as `docker compose exec gateway headrace ...` runs it."""
    argv = [mesh.image / "bin/headrace", *arguments]
    env = mesh.services["gateway"].environment
    done = subprocess.run(argv, env=env, cwd=mesh.root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def scrape(mesh: Mesh) -> dict[str, tuple[set[str], bool]]:
    """Names as in queries -> labels of its series, and whether there is a series. From all services, as Prometheus reads them."""
    found: dict[str, tuple[set[str], bool]] = {}
    for running in mesh.services.values():
        text = httpx2.get(running.url("/metrics"), trust_env=False).text
        for family in text_string_to_metric_families(text):
            name = family.name + "_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels}
            known, there = found.get(name, (set(), False))
            found[name] = (known | labels, there or bool(family.samples))
    return found


def base(metric: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", metric)


def test_every_metric_of_rules_and_dashboards_is_in_a_scrape(mesh: Mesh) -> None:
    def measured() -> bool:
        scraped = scrape(mesh)
        return scraped["headrace_consumer_lag"][1] and scraped["headrace_usage_runs_total"][1]

    until(measured, 60, "lag and usage are measured")
    scraped = scrape(mesh)
    used: set[str] = set()
    for expression in [*expressions.of_rules(), *expressions.of_dashboards()]:
        labels = set(TARGET_LABELS)
        for metric in {base(metric) for metric in expression.metrics}:
            assert metric in scraped or metric in OTHERS, f"{expression.where}: {metric}"
            used.add(metric)
            labels |= scraped[metric][0] if metric in scraped else set()
        if not {base(metric) for metric in expression.metrics} & (set(OTHERS) | NOT_WITHOUT_TROUBLE) - {"up"}:
            assert expression.labels <= labels, f"{expression.where}: {expression.labels - labels}"
    assert set(OTHERS) <= used, "listed and not used"
    assert {metric for metric in used & set(scraped) if not scraped[metric][1]} <= NOT_WITHOUT_TROUBLE


def test_a_stop_is_a_drain_and_the_health_check_then_fails(mesh: Mesh) -> None:
    for running in mesh.services.values():
        running.process.send_signal(signal.SIGTERM)
    for name, running in mesh.services.items():
        assert running.process.wait(45) == 0, running.log.read_text()[-3000:]
        assert healthy(mesh, name) == 1


def test_nothing_was_written_beside_the_temporary_folder(mesh: Mesh) -> None:
    """The containers' root is read-only, and their working directory is the root."""
    assert os.listdir(mesh.root) == []
