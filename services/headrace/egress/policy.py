"""What the operator allows, whoever asks: ports, bounds, and private targets by name."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from headrace.config_file import Settings
from headrace.egress.addresses import Address, is_local_service, is_public
from headrace.egress.urls import canonical_host


@dataclass(frozen=True, slots=True)
class PrivateTargets:
    """Private places that may be called. ``hosts`` are (canonical host, port); ``networks`` keep to the allowed
    ports.
    """

    hosts: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: list[str]) -> PrivateTargets:
        """From ``host:port``, ``[v6]:port`` or CIDR entries. Raises ``ValueError`` naming a bad one."""
        hosts: set[tuple[str, int]] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            if "/" in entry:
                networks.append(ip_network(entry))
            else:
                hosts.add(_host_and_port(entry))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str, port: int) -> bool:
        return (host, port) in self.hosts

    def covers(self, address: Address, host: str, port: int) -> bool:
        """Whether ``address``, which ``host`` resolved to, is allowed though it is not public."""
        if any(address in network for network in self.networks) or (str(address), port) in self.hosts:
            return True
        return self.names(host, port) and not is_local_service(address)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """``timeout_s`` bounds a whole request, redirects included; ``max_body_bytes`` counts after decompression."""

    ports: frozenset[int] = frozenset({80, 443})
    private: PrivateTargets = field(default_factory=PrivateTargets)
    timeout_s: float = 20.0
    connect_timeout_s: float = 5.0
    max_body_bytes: int = 10_000_000
    max_redirects: int = 3

    def allows_port(self, host: str, port: int) -> bool:
        return port in self.ports or self.private.names(host, port)

    def allows_address(self, address: Address, host: str, port: int) -> bool:
        return is_public(address) or self.private.covers(address, host, port)


class EgressSettings(Settings):
    """``HEADRACE_EGRESS_*``. Lists are JSON or comma-separated."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_EGRESS_", env_file=".env", extra="ignore")

    allow_private: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Private targets that tools may call: host:port, [v6]:port or CIDR"
    )
    ports: Annotated[list[int], NoDecode] = Field(default=[80, 443], description="Ports that tools may call")
    timeout_s: float = Field(default=20, gt=0, le=600)
    max_body_bytes: int = Field(default=10_000_000, ge=1_000, le=100_000_000)
    max_redirects: int = Field(default=3, ge=0, le=10)
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authorities to trust, instead of the system's"
    )

    @field_validator("allow_private", "ports", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        with suppress(ValueError):
            return json.loads(value)
        return [item.strip() for item in value.split(",") if item.strip()]

    @field_validator("allow_private")
    @classmethod
    def _well_formed(cls, value: list[str]) -> list[str]:
        PrivateTargets.parse(value)
        return value

    def policy(self) -> EgressPolicy:
        return EgressPolicy(
            ports=frozenset(self.ports),
            private=PrivateTargets.parse(self.allow_private),
            timeout_s=self.timeout_s,
            max_body_bytes=self.max_body_bytes,
            max_redirects=self.max_redirects,
        )


def _host_and_port(entry: str) -> tuple[str, int]:
    host, _, port = entry.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    canonical = canonical_host(host[1:-1] if bracketed else host)
    if canonical is None or bracketed != (":" in canonical) or not (port.isascii() and port.isdigit()):
        raise ValueError(f"not host:port, [v6]:port or a CIDR network: {entry!r}")
    return canonical, int(port)
