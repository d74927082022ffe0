"""The ground of the long run: a cluster behind proxies, and a registry and a database that may be harmed too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headrace.local.download import ensure_software
from headrace.local.guard import Guard
from headrace.local.ports import PortBook
from headrace.local.postgres import Postgres
from headrace.local.registry import SchemaRegistry
from headrace.local.server import Server, Site
from tests.faults.arena import Ground, ground
from tests.support.stack import data_folder


@dataclass(frozen=True)
class Servers:
    """``ground`` as cells of the bare runtime need it, and the servers that only a whole mesh has."""

    ground: Ground
    registry: Server
    postgres: Server


@contextmanager
def servers() -> Iterator[Servers]:
    home = ensure_software().registry_home
    guard = Guard()
    try:
        with data_folder() as folder:
            site = Site(folder, PortBook(folder / "ports.json"), guard)
            registry, postgres = SchemaRegistry(site, home), Postgres(site, fast=True)
            postgres.start()
            registry.start()
            try:
                with ground(registry.url, postgres.url) as cluster:
                    yield Servers(cluster, registry, postgres)
            finally:
                registry.stop()
                postgres.stop()
    finally:
        guard.close()
