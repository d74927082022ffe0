"""``headrace up``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from headrace.cli.mesh import SECRETS_FILE, local_mesh
from headrace.cli.start import start_detached
from headrace.cli.target import DEFAULT_DATA, Target
from headrace.local.progress import console_progress
from headrace.local.stack import StackPorts
from headrace.local.supervisor import Supervisor

_NOWHERE = Target()


def up(
    *,
    target: Target = _NOWHERE,
    port: Annotated[int, Parameter(env_var="HEADRACE_GATEWAY_PORT")] = 8080,
    kafka_port: int | None = None,
    registry_port: int | None = None,
    postgres_port: int | None = None,
    detach: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Start the whole mesh on this machine: Kafka, schema registry, Postgres, and every service. No Docker needed.

    The servers are downloaded once (about 200 MB) and kept in ~/.cache/headrace. KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and
    DATABASE_URL each replace an embedded server. Data survives `down` and `up`. Ctrl-C stops everything in order.

    Example: `headrace up --detach && headrace status`

    Parameters
    ----------
    port
        Port of the gateway on 127.0.0.1. A port that is in use is named and nothing is started.
    kafka_port
        Port of Kafka; by default the one of last time, or a free one.
    registry_port
        Port of the schema registry.
    postgres_port
        Port of Postgres.
    detach
        Return once everything is ready, and leave it running: `headrace down` stops it.
    """
    ports = StackPorts(kafka_port, registry_port, postgres_port)
    if detach:
        start_detached(target.data, port, ports)
        announce(target.data, f"http://127.0.0.1:{port}")
        return
    with console_progress() as progress:
        mesh = local_mesh(target.data.absolute(), gateway_port=port, ports=ports)
        Supervisor(mesh, progress).run(lambda: announce(target.data, mesh.gateway_url))


def announce(data: Path, gateway: str) -> None:
    """Where everything is, and what to type next."""
    console = Console(highlight=False, soft_wrap=True)
    console.print("\n[bold green]headrace is up[/bold green]")
    for name, value in (
        ("gateway", gateway),
        ("API docs", f"{gateway}/docs"),
        ("topics", f"{gateway}/asyncapi.yaml"),
        ("webhooks", f"{gateway}/webhooks/github (secret: {data / SECRETS_FILE}), {gateway}/webhooks/alertmanager"),
        ("events", f"{gateway}/events"),
    ):
        console.print(f"  {name:<9} {value}", markup=False)
    there = "" if data == DEFAULT_DATA else f" --data {data}"
    for title, verb in (("try", "events send --sample"), ("", "runs list"), ("", "status"), ("stop", "down")):
        console.print(f"  {title:<9} headrace {verb}{there}", markup=False)
