"""Publishing definitions: the definition itself, then the pointer that makes it live, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.registry.catalog import Catalog
from headrace.runtime.api import Send
from headrace.runtime.publisher import Publisher
from headrace.runtime.table import Table
from headrace.settings import MeshSettings

_PATIENCE_S = 60.0


class VersionTaken(BadMessage):
    """Another definition has that version already: versions are immutable, so a change needs a new one."""

    cause = "version_taken"


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a definition. ``unchanged``: this very version is live already."""

    name: str
    version: str
    outcome: Literal["published", "made live", "unchanged", "kept"]


async def read_catalog(settings: MeshSettings) -> Catalog:
    """Everything that is published now. Raises ``DependencyUnavailable`` if Kafka or the topic is not there."""
    catalog = Catalog()
    table = Table(settings, AgentRecord.TOPIC, catalog.apply)  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(table.start(), _PATIENCE_S)
    except TimeoutError:
        raise DependencyUnavailable(
            "the agent catalogue can't be read: is Kafka up, and `headrace topics apply` done?"
        ) from None
    finally:
        await table.stop()
    return catalog


@asynccontextmanager
async def connecting(settings: MeshSettings, service: str = "registry") -> AsyncIterator[Publisher]:
    """A publisher that connects in the background: a new cluster takes a second for its first transactional producer.

    ``service`` is part of its transactional ids: of those of one service and instance, the last to connect ends the others.
    """
    # Definitions are never large enough for a claim check: the topic is read whole by everybody.
    publisher = Publisher(settings, service, MemoryBlobs())
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


@asynccontextmanager
async def connected(settings: MeshSettings, service: str = "registry") -> AsyncIterator[Publisher]:
    """A publisher that is ready. Raises ``DependencyUnavailable`` if Kafka does not answer within a minute."""
    async with connecting(settings, service) as publisher:
        await _ready(publisher)
        yield publisher


async def publish(
    settings: MeshSettings,
    definitions: Sequence[AgentDefinition],
    *,
    only_new: bool = False,
    dry_run: bool = False,
    publisher: Publisher | None = None,
) -> list[Published]:
    """Publish ``definitions`` and make them live; with ``only_new``, agents that have any live version are left as they are.

    ``publisher`` is one that is ``connecting``; by default one is made when there is something to publish.

    Raises:
        VersionTaken: before anything is published.
        DependencyUnavailable: nothing is published.
    """
    catalog = await read_catalog(settings)
    decided = [(definition, _decide(catalog, definition, only_new=only_new)) for definition in definitions]
    sends = [send for definition, decision in decided for send in _sends(definition, decision)]
    if sends and not dry_run:
        async with nullcontext(publisher) if publisher else connecting(settings) as sender:
            await _send(sender, sends)
    return [decision for _, decision in decided]


def _decide(catalog: Catalog, definition: AgentDefinition, *, only_new: bool) -> Published:
    name, version = definition.name, definition.version
    live = catalog.live(name)
    if only_new and live is not None:
        return Published(name, live.version, "unchanged" if live == definition else "kept")
    existing = catalog.get(name, version)
    if existing is None:
        return Published(name, version, "published")
    if existing.definition_hash != definition.definition_hash:
        raise VersionTaken(f"{name} {version} is published with another definition: give the change a new version")
    return Published(name, version, "unchanged" if live == existing else "made live")


def _sends(definition: AgentDefinition, decision: Published) -> list[Send]:
    pointer = Send(AgentRecord(name=definition.name, live_version=definition.version))
    if decision.outcome == "published":
        return [Send(AgentRecord(name=definition.name, definition=definition)), pointer]
    return [pointer] if decision.outcome == "made live" else []


async def _send(publisher: Publisher, sends: Sequence[Send]) -> None:
    await _ready(publisher)
    await publisher.publish(sends, timeout_s=_PATIENCE_S)


async def _ready(publisher: Publisher) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not publisher.ready():
                if publisher.failure:
                    raise publisher.failure
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise DependencyUnavailable("Kafka did not answer") from None
