"""Finding the head of a chain in ``audit.events``: needed only where the group's commit does not hold it.

That is so for a partition that was never committed, and after the group's offsets were reset or have expired. Whoever asks owns the
source partition, and nobody else has committed it since, so what is committed on ``audit.events`` when the scan begins is
all that there is of the chain. Those who ask at about the same time share a scan, and each goes on where the one before ended.
"""

from __future__ import annotations

import asyncio

from headrace.audit.chain import Head, intact
from headrace.audit.reading import entry_wire, read, scan_entries
from headrace.observe.logging import get_logger
from headrace.settings import MeshSettings

log = get_logger(__name__)


class Heads:
    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._heads: dict[str, Head] = {}
        self._start: dict[tuple[str, int], int] = {}
        self._running = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None  # a scan that has not begun: whoever asks now may wait for it

    async def find(self, chain: str) -> Head | None:
        """Head of ``chain`` as of now, or None if it has no entry.

        Raises:
            DependencyUnavailable: Kafka or the schema registry is away.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._scan())
        await asyncio.shield(self._next)
        return self._heads.get(chain)

    async def _scan(self) -> None:
        async with self._running:
            self._next = None
            async with entry_wire(self._settings) as wire, scan_entries(self._settings, self._start) as scan:
                count = 0
                async for found in read(wire, scan):
                    count += 1
                    entry = found.entry
                    if entry is not None and entry.chain == found.key and intact(entry):
                        self._note(entry.chain, Head.of(entry))
                self._start |= scan.ends
        log.info("audit_heads_read", entries=count, chains=len(self._heads))

    def _note(self, chain: str, head: Head) -> None:
        known = self._heads.get(chain)
        if known is None or head.sequence > known.sequence:
            self._heads[chain] = head
