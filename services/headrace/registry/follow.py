"""A catalogue that follows the topic of agent definitions, for the services that need every agent in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.messages.agent import AgentRecord
from headrace.messages.base import Message
from headrace.registry.catalog import Catalog
from headrace.runtime.table import Table
from headrace.settings import MeshSettings


def definitions(settings: MeshSettings, catalog: Catalog) -> Table:
    """The table that keeps ``catalog`` true once it is started."""

    def apply(key: str, message: Message | None) -> None:
        catalog.apply(key, message if isinstance(message, AgentRecord) else None)

    return Table(settings, AgentRecord.TOPIC, apply)


@asynccontextmanager
async def followed_catalog(settings: MeshSettings) -> AsyncIterator[Catalog]:
    """Entered when every definition that was published by then is known; follows the topic until it is left."""
    catalog = Catalog()
    table = definitions(settings, catalog)
    try:
        await table.start()
        yield catalog
    finally:
        await table.stop()
