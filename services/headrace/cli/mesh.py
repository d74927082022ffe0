"""What a local mesh consists of: the embedded stack, the services with their ports and secrets, and what is prepared first."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from headrace.gateway.secrets import secret_variable
from headrace.local.endpoints import Endpoints
from headrace.local.nursery import Entry
from headrace.local.service import ServiceSpec
from headrace.local.stack import Stack, StackPorts
from headrace.local.supervisor import Mesh
from headrace.pipeline import STAGES

SECRETS_FILE = "secrets.env"
GATEWAY_HOST = "127.0.0.1"


def local_mesh(data: Path, *, gateway_port: int, ports: StackPorts | None = None) -> Mesh:
    """A mesh on ``data`` with its gateway on ``gateway_port``."""
    environment = {
        "HEADRACE_AUTH": os.environ.get("HEADRACE_AUTH", "off"),  # it listens on loopback only
        "HEADRACE_GATEWAY_HOST": GATEWAY_HOST,
        "HEADRACE_GATEWAY_PORT": str(gateway_port),
        "HEADRACE_WEBHOOK_OPEN": os.environ.get("HEADRACE_WEBHOOK_OPEN", "alertmanager"),  # it listens on loopback only
        **webhook_secrets(data),
    }
    return Mesh(
        stack=Stack(data, ports=ports),
        services=[_service(name, environment, gateway_port) for name in STAGES],
        prepare=_prepare,
        gateway_url=f"http://{GATEWAY_HOST}:{gateway_port}",
        preload="headrace.cli.preload",
    )


def _prepare(endpoints: Endpoints) -> None:
    from headrace.cli.output import quiet_logs
    from headrace.cli.prepare import prepare_endpoints  # imported when the servers have long been launched

    quiet_logs()
    prepare_endpoints(endpoints)


def _service(name: str, environment: Mapping[str, str], gateway_port: int) -> ServiceSpec:
    argv = [sys.executable, "-m", "headrace", "run", name]
    gateway = name == "gateway"
    orchestrator = {"HEADRACE_ORCHESTRATOR_API_URL": f"http://{GATEWAY_HOST}:{gateway_port}"} if name == "tools" else {}
    return ServiceSpec(
        name,
        argv,
        env=environment if gateway else orchestrator,
        listens=[gateway_port] if gateway else [],
        entry=Entry("headrace.host.process", "main", [name]),
    )


def webhook_secrets(data: Path) -> dict[str, str]:
    """The GitHub webhook secret of this mesh: the environment's, or one that is made once and kept beside the data."""
    variable = secret_variable("github")
    if value := os.environ.get(variable):
        return {variable: value}
    path = data / SECRETS_FILE
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{variable}={secrets.token_hex(24)}\n")
    return dict([path.read_text().strip().split("=", 1)])
