"""Where the three servers are: embedded ones, or external ones that the environment names."""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

from headrace.local.errors import Unreachable

VARIABLES: Mapping[str, str] = MappingProxyType(
    {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "registry": "SCHEMA_REGISTRY_URL", "postgres": "DATABASE_URL"}
)
"""Part -> the environment variable that replaces it."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three addresses that services need. An address that is empty belongs to a part that was not asked for."""

    kafka_bootstrap_servers: str
    schema_registry_url: str
    database_url: str

    def environment(self) -> dict[str, str]:
        """The same as environment variables for a child process; parts without an address are left out."""
        pairs = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": self.schema_registry_url,
            "DATABASE_URL": self.database_url,
        }
        return {name: value for name, value in pairs.items() if value}

    def __repr__(self) -> str:
        """Without the database's password, since this lands in logs and test reports."""
        return f"Endpoints({self.kafka_bootstrap_servers!r}, {self.schema_registry_url!r}, database_url=***)"


def external(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Part -> address, for each part that the environment replaces."""
    source = os.environ if environ is None else environ
    return {part: source[variable] for part, variable in VARIABLES.items() if source.get(variable)}


def check_reachable(part: str, address: str, timeout: float = 5.0) -> None:
    """Raises `Unreachable` unless one of the hosts in `address` accepts a TCP connection."""
    variable = VARIABLES[part]
    reason = "it names no host and port"
    for target in _targets(part, address):
        try:
            _connect(target, timeout)
        except OSError as error:
            reason = f"{target}: {error}"
        else:
            return
    raise Unreachable(variable, reason)


def _targets(part: str, address: str) -> Iterable[str | tuple[str, int]]:
    if part == "kafka":
        for server in address.split(","):
            host, _, port = server.strip().rpartition(":")
            if port.isdigit():
                yield host.removeprefix("PLAINTEXT://").strip("[]"), int(port)
        return
    url = urlsplit(address)
    socket_dir = parse_qs(url.query).get("host", [""])[0]
    if socket_dir.startswith("/"):
        yield f"{socket_dir}/.s.PGSQL.{url.port or 5432}"
    elif url.hostname and (url.port or _DEFAULT_PORTS.get(url.scheme)):
        yield url.hostname, url.port or _DEFAULT_PORTS[url.scheme]


def _connect(target: str | tuple[str, int], timeout: float) -> None:
    if isinstance(target, tuple):
        socket.create_connection(target, timeout).close()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(target)
