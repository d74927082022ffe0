"""Publishing definitions: the definition itself, then the pointer that makes it live, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from headrace.blobs import BlobStore
from headrace.blobs.memory import MemoryBlobs
from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.registry import pointer
from headrace.registry.catalog import Catalog
from headrace.registry.pointer import By
from headrace.registry.promote import by, written
from headrace.registry.read import read_catalog
from headrace.runtime.api import Send
from headrace.runtime.publisher import Publisher
from headrace.settings import MeshSettings

_PATIENCE_S: Final = 60.0


class VersionTaken(BadMessage):
    """Another definition has that version already: versions are immutable, so a change needs a new one."""

    cause = "version_taken"


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a definition. ``unchanged``: this very version is live already; ``stored``: published, and not live."""

    name: str
    version: str
    outcome: Literal["published", "stored", "made live", "unchanged", "kept"]


@asynccontextmanager
async def connecting(
    settings: MeshSettings, service: str = "registry", blobs: BlobStore | None = None
) -> AsyncIterator[Publisher]:
    """A publisher that connects in the background: a new cluster takes a second for its first transactional producer.

    ``service`` is part of its transactional ids: of those of one service and instance, the last to connect ends the others.
    ``blobs``: for what may be large. Definitions never are: the topic is read whole by everybody.
    """
    publisher = Publisher(settings, service, blobs or MemoryBlobs())
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


@asynccontextmanager
async def connected(
    settings: MeshSettings, service: str = "registry", blobs: BlobStore | None = None
) -> AsyncIterator[Publisher]:
    """A publisher that is ready. Raises ``DependencyUnavailable`` if Kafka does not answer within a minute."""
    async with connecting(settings, service, blobs) as publisher:
        await _ready(publisher)
        yield publisher


async def publish(
    settings: MeshSettings,
    definitions: Sequence[AgentDefinition],
    *,
    who: str,
    only_new: bool = False,
    live: bool = True,
    dry_run: bool = False,
    publisher: Publisher | None = None,
) -> list[Published]:
    """Publish ``definitions`` and make them live; with ``only_new``, agents that have any live version are left as they are, and
    without ``live`` all are.

    ``publisher``, one that is ``connecting``, is for a mesh that nobody changes yet: otherwise what is live is changed only if
    nobody else changed it meanwhile.

    Raises:
        VersionTaken: before anything is published.
        DependencyUnavailable: nothing is published.
    """
    decide = partial(_decided, definitions, only_new=only_new, live=live, changed=by(who))
    if publisher is None and not dry_run:
        return await written(settings, decide)
    done, records = decide(await read_catalog(settings))
    if records and publisher is not None and not dry_run:
        await _send(publisher, [Send(record) for record in records])
    return done


def _decided(
    definitions: Sequence[AgentDefinition], catalog: Catalog, *, only_new: bool, live: bool, changed: By
) -> tuple[list[Published], list[AgentRecord]]:
    """What becomes of each, one after the other, and the records of it."""
    done, records = [], []
    for definition in definitions:
        decision = _decide(catalog, definition, only_new=only_new, live=live)
        made = _records(catalog.pointer(definition.name), definition, decision, changed)
        for record in made:
            catalog.apply(record.record_key(), record)
        done.append(decision)
        records += made
    return done, records


def _decide(catalog: Catalog, definition: AgentDefinition, *, only_new: bool, live: bool) -> Published:
    name, version = definition.name, definition.version
    present = catalog.live(name)
    if only_new and present is not None:
        return Published(name, present.version, "unchanged" if present == definition else "kept")
    existing = catalog.get(name, version)
    if existing is None:
        return Published(name, version, "published" if live else "stored")
    if existing.definition_hash != definition.definition_hash:
        raise VersionTaken(f"{name} {version} is published with another definition: give the change a new version")
    return Published(name, version, "unchanged" if present == existing or not live else "made live")


def _records(
    there: AgentRecord | None, definition: AgentDefinition, decision: Published, changed: By
) -> list[AgentRecord]:
    name, version = definition.name, definition.version
    stored = [AgentRecord(name=name, definition=definition)] if decision.outcome in ("published", "stored") else []
    live = [pointer.published(there, name, version, changed)] if decision.outcome in ("published", "made live") else []
    return stored + live


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
