"""Each service with exactly its pod's command and environment, a read-only root and no server in reach: what the probes would see.

A pod has to answer its startup and liveness probes while Kafka, registry and Postgres are away, must not be ready, must write
nowhere, and must end with 0 when it is told to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.pipeline import STAGES
from tests.deploy_k8s.charts import container, environment, rendering, services_of

HERE = Path(__file__).parent
SECRETS = {"DATABASE_URL": "postgresql://127.0.0.1:5432/headrace", "HEADRACE_AUTH_SECRET": "a-secret-" * 4}
# The servers' names resolve to nothing here, so that what is asked for is refused at once.
SERVERS = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:9"}


def _value(name: str, value: Any) -> str | None:
    if isinstance(value, str):
        return SERVERS.get(name, value)
    if "fieldRef" in value:
        return "headrace-7d4b9c6f5d-x2x7k"
    return SECRETS.get(name)  # an optional one that is not there is not set


def _isolated(spec: dict[str, Any]) -> dict[str, Any]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, for namespaces of its own")
    if HERE.is_relative_to("/tmp"):
        pytest.skip("this checkout is in /tmp, which a pod has empty")
    command = ["unshare", "--mount", "--net", sys.executable, str(HERE / "in_a_namespace.py")]
    done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, timeout=180)
    if done.returncode and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"no namespaces of its own here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(service: str) -> dict[str, Any]:
    objects = rendering("k8s")
    workload = services_of(objects)[service]
    one = container(workload)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    variables = {name: _value(name, value) for name, value in environment(workload, objects).items()}
    probes = {
        name: (ports[one[name]["httpGet"]["port"]], one[name]["httpGet"]["path"])
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    return _isolated(
        {
            "command": [str(Path(sys.executable).parent / one["command"][0]), *one["args"]],
            "environment": {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
            | {name: value for name, value in variables.items() if value is not None}
            | {"HEADRACE_DRAIN_SECONDS": "2"},
            "probes": probes,
        }
    )


@pytest.fixture(scope="module")
def pods() -> dict[str, dict[str, Any]]:
    """What was found, by service. All run side by side, since most of it is waiting for what does not answer."""
    rendering("k8s")  # read once, for all threads
    with ThreadPoolExecutor(len(STAGES)) as pool:
        return dict(zip(STAGES, pool.map(_run, STAGES), strict=True))


@pytest.mark.xdist_group("pods")
@pytest.mark.parametrize("service", STAGES)
def test_a_pod_without_its_servers_lives_and_is_not_ready(pods: dict[str, dict[str, Any]], service: str) -> None:
    found = pods[service]
    assert found["answers"] == {"startupProbe": 200, "livenessProbe": 200, "readinessProbe": 503}
    assert found["exit"] == 0
    assert not found["root_writable"]
    assert found["wrote"] == []
