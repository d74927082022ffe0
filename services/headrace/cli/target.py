"""Which mesh a command works on: the one that is up on a data directory, or the one that the environment names.

A command asks here before it makes a client: a mesh that is not up, only starts, or has lost its Kafka is told at once and by
name, instead of by whatever a client gives up with a minute later.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from cyclopts import Parameter

from headrace.local.endpoints import VARIABLES, Endpoints, check_reachable, external
from headrace.local.kafka_probe import live_brokers
from headrace.local.stack import State
from headrace.local.state import MeshState, read_state, running_state
from headrace.messages.errors import DependencyUnavailable, FatalError

if TYPE_CHECKING:  # each is imported where it is used: half of the commands need none of them
    import httpx2

    from headrace.blobs import BlobStore
    from headrace.index import RunIndex
    from headrace.settings import MeshSettings

T = TypeVar("T")
DEFAULT_DATA = Path(".headrace")
GATEWAY_URL = "HEADRACE_GATEWAY_URL"
NO_CREDENTIAL: Final = "HEADRACE_API_KEY is not a key or a token"
_NOT_YET: Final = ("starting", "preparing")
_PLAIN_SERVERS: Final = re.compile(r"[\w.-]+:\d+(,[\w.-]+:\d+)*")
_PROBE_S: Final = 5.0


@Parameter(name="*")
@dataclass(frozen=True)
class Target:
    """Where the mesh is."""

    data: Annotated[Path, Parameter(env_var="HEADRACE_DATA")] = DEFAULT_DATA
    "Data directory of the mesh that `headrace up` started. Not needed where the environment names the servers."

    def state(self) -> MeshState:
        """The mesh that is up there. Raises ``NotRunning``, or ``DependencyUnavailable`` for one that failed to come up."""
        last = read_state(self.data)
        if last is not None and last.phase == "failed" and not last.alive:
            reason = last.error.splitlines()[0] if last.error else "unknown"
            raise DependencyUnavailable(f"no mesh is up on {self.data}, the last one ended with: {reason}")
        return running_state(self.data)

    def settings(self, *, kafka: bool = True) -> MeshSettings:
        """Settings to reach the mesh; ``kafka`` says whether the command needs it.

        Raises ``NotRunning`` where neither the environment nor a running mesh tells, ``DependencyUnavailable`` where they tell
        but nobody answers.
        """
        if external(os.environ).keys() >= VARIABLES.keys():
            from headrace.settings import MeshSettings

            settings = MeshSettings()
            servers = settings.kafka_bootstrap_servers
            if kafka and _PLAIN_SERVERS.fullmatch(servers):
                check_reachable("kafka", servers, _PROBE_S)
            return settings
        state = self._up()
        assert state.endpoints is not None, "a mesh that is up has endpoints"
        embedded = all(part.state != State.EXTERNAL for part in state.parts if part.name == "kafka")
        if kafka and embedded:
            self._probe_kafka(state.endpoints.kafka_bootstrap_servers)
        return settings_for(state.endpoints)

    def gateway_url(self) -> str:
        return os.environ.get(GATEWAY_URL) or self._up().gateway_url

    def _up(self) -> MeshState:
        state = self.state()
        if state.endpoints is None or state.phase in _NOT_YET:
            raise DependencyUnavailable(f"the mesh on {self.data} is still {state.phase}: try again in a moment")
        return state

    def _probe_kafka(self, servers: str) -> None:
        if not live_brokers(int(servers.rpartition(":")[2]), _PROBE_S):
            raise DependencyUnavailable(
                f"Kafka of the mesh on {self.data} ({servers}) does not answer: "
                f"see `headrace status --data {self.data}` and {self.data / 'logs' / 'kafka.log'}"
            )


JsonFlag = Annotated[bool, Parameter(name="--json", negative=())]


def settings_for(endpoints: Endpoints) -> MeshSettings:
    """Settings of a mesh on these endpoints; everything else is from the environment."""
    from pydantic import SecretStr

    from headrace.settings import MeshSettings

    return MeshSettings(
        kafka_bootstrap_servers=endpoints.kafka_bootstrap_servers,
        schema_registry_url=endpoints.schema_registry_url,
        database_url=SecretStr(endpoints.database_url),
    )


def run_async(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)


@asynccontextmanager
async def index_of(settings: MeshSettings) -> AsyncIterator[RunIndex]:
    """The index of runs, with the blob store behind it."""
    from headrace.blobs.settings import open_blobs
    from headrace.index import RunIndex
    from headrace.postgres.pool import open_pool

    async with open_pool(settings, min_size=1, max_size=2) as pool:
        yield RunIndex(pool, open_blobs(settings, pool))


@asynccontextmanager
async def blobs_of(settings: MeshSettings) -> AsyncIterator[BlobStore]:
    from headrace.blobs.settings import open_blobs
    from headrace.postgres.pool import open_pool

    async with open_pool(settings, min_size=1, max_size=2) as pool:
        yield open_blobs(settings, pool)


@asynccontextmanager
async def gateway_client(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the gateway; with the credential of HEADRACE_API_KEY (a key or a token) if that is set."""
    import httpx2

    from headrace.client.errors import InvalidCredential
    from headrace.client.options import headers_of

    try:
        headers = headers_of(None)
    except InvalidCredential:
        raise FatalError(NO_CREDENTIAL) from None
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30.0, headers=headers) as client:
        yield client
