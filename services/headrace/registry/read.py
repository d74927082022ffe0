"""Everything that is published now, read once."""

from __future__ import annotations

import asyncio
from typing import Final

from headrace.messages.errors import DependencyUnavailable
from headrace.registry.catalog import Catalog
from headrace.registry.follow import definitions
from headrace.settings import MeshSettings

_PATIENCE_S: Final = 60.0


async def read_catalog(settings: MeshSettings) -> Catalog:
    """Raises ``DependencyUnavailable`` if Kafka or the topic is not there."""
    catalog = Catalog()
    table = definitions(settings, catalog)
    try:
        await asyncio.wait_for(table.start(), _PATIENCE_S)
    except TimeoutError:
        raise DependencyUnavailable(
            "the agent catalogue can't be read: is Kafka up, and `headrace topics apply` done?"
        ) from None
    finally:
        await table.stop()
    return catalog
