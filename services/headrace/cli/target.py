"""Which mesh a command works on: the one that is up on a data directory, or the one that the environment names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx2
import uvloop
from cyclopts import Parameter
from pydantic import SecretStr

from headrace.blobs import BlobStore
from headrace.blobs.settings import open_blobs
from headrace.index import RunIndex
from headrace.local.endpoints import Endpoints, external
from headrace.local.state import MeshState, running_state
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

T = TypeVar("T")
DEFAULT_DATA = Path(".headrace")
GATEWAY_URL = "HEADRACE_GATEWAY_URL"


@Parameter(name="*")
@dataclass(frozen=True)
class Target:
    """Where the mesh is."""

    data: Annotated[Path, Parameter(env_var="HEADRACE_DATA")] = DEFAULT_DATA
    "Data directory of the mesh that `headrace up` started. Not needed where the environment names the servers."

    def state(self) -> MeshState:
        """The mesh that is up there. Raises ``NotRunning``."""
        return running_state(self.data)

    def settings(self) -> MeshSettings:
        """Settings to reach the mesh. Raises ``NotRunning`` where neither the environment nor a running mesh tells."""
        given = external(os.environ)
        if {"kafka", "registry", "postgres"} <= set(given):
            return MeshSettings()
        endpoints = self.state().endpoints
        assert endpoints is not None, "a running mesh has endpoints"
        return settings_for(endpoints)

    def gateway_url(self) -> str:
        return os.environ.get(GATEWAY_URL) or self.state().gateway_url


JsonFlag = Annotated[bool, Parameter(name="--json", negative=())]


def settings_for(endpoints: Endpoints) -> MeshSettings:
    """Settings of a mesh on these endpoints; everything else is from the environment."""
    return MeshSettings(
        kafka_bootstrap_servers=endpoints.kafka_bootstrap_servers,
        schema_registry_url=endpoints.schema_registry_url,
        database_url=SecretStr(endpoints.database_url),
    )


def run_async(work: Coroutine[Any, Any, T]) -> T:
    return uvloop.run(work)


@asynccontextmanager
async def index_of(settings: MeshSettings) -> AsyncIterator[RunIndex]:
    """The index of runs, with the blob store behind it."""
    async with open_pool(settings, min_size=1, max_size=2) as pool:
        yield RunIndex(pool, open_blobs(settings, pool))


@asynccontextmanager
async def blobs_of(settings: MeshSettings) -> AsyncIterator[BlobStore]:
    async with open_pool(settings, min_size=1, max_size=2) as pool:
        yield open_blobs(settings, pool)


@asynccontextmanager
async def gateway_client(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30.0) as client:
        yield client
