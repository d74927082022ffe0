"""``headrace run SERVICE...``"""

from __future__ import annotations

from headrace.cli.output import stop
from headrace.host.process import UnknownService, composers
from headrace.host.process import main as run_services
from headrace.pipeline import STAGES


def run(*services: str) -> None:
    """Run any set of services in this process, until SIGTERM or Ctrl-C. In production: one process each.

    Servers are taken from KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and DATABASE_URL; each replica of a service needs its own
    HEADRACE_INSTANCE. Logs are JSON lines on stderr; HEADRACE_OPS_PORT serves /healthz /readyz /metrics /status.

    Example: `headrace run ingest reasoning tools`

    Parameters
    ----------
    services
        gateway, ingest, reasoning, tools, orchestration, persistence, audit, replay, analytics.
    """
    if not services:
        raise stop(f"which services? There are: {', '.join(STAGES)}", 2)
    try:
        composers(services)
    except UnknownService as error:
        raise stop(str(error), 2) from None
    run_services(services)
