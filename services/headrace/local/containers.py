"""The same three addresses from containers: Redpanda (with its own schema registry) and PostgreSQL, by testcontainers.

For tests and trials where a Docker engine answers; needs the `testcontainers` package. Redpanda has no KIP-848 groups:
set `HEADRACE_GROUP_PROTOCOL=classic` for what uses it. Ports are published on 127.0.0.1 only.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from headrace.local.endpoints import Endpoints
from headrace.local.ports import HOST

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

REDPANDA_IMAGE = "redpandadata/redpanda:v24.3.1"
POSTGRES_IMAGE = "postgres:18"
_START_SECONDS = 120


def docker_problem() -> str | None:
    """Why containers cannot be used here, in a sentence; None when a Docker engine listens."""
    if find_spec("testcontainers") is None:
        return "the package testcontainers is not installed"
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    url = urlsplit(address)
    try:
        if url.scheme == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5)
                connection.connect(url.path)
        else:
            socket.create_connection((url.hostname or "", url.port or 2375), 5).close()
    except OSError as error:
        return f"no Docker engine answers at {address}: {error}"
    return None


@contextmanager
def container_stack(redpanda_image: str = REDPANDA_IMAGE, postgres_image: str = POSTGRES_IMAGE) -> Iterator[Endpoints]:
    """Starts both containers, yields the addresses, and removes the containers at the end.

    Raises what testcontainers raises when Docker is absent; ask `docker_problem` first.
    """
    from testcontainers.community.kafka import RedpandaContainer
    from testcontainers.community.postgres import PostgresContainer

    secret = secrets.token_urlsafe(24)
    redpanda = RedpandaContainer(redpanda_image)
    postgres = PostgresContainer(postgres_image, username="headrace", password=secret, dbname="headrace", driver=None)
    publish_on_loopback(redpanda)
    publish_on_loopback(postgres)
    with ExitStack() as started:
        started.callback(redpanda.stop)
        redpanda.start(timeout=_START_SECONDS)
        started.callback(postgres.stop)
        postgres.start()
        yield Endpoints(
            redpanda.get_bootstrap_server(), redpanda.get_schema_registry_address(), postgres.get_connection_url()
        )


def publish_on_loopback(container: "DockerContainer") -> None:
    """Binds the container's published ports to free ports of 127.0.0.1, not of every interface (the default)."""
    ports = cast("dict[str, object]", container.ports)  # Docker's client takes more than the declared int or None
    for port in ports:
        ports[port] = (HOST, None)
