"""``headrace audit verify``: reads ``audit.events`` whole, checks every chain, and on demand the source records that are left.

The heads that the service has committed are read before and after: what the first say has to be there, and nothing past the last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from headrace.audit.chain import Head
from headrace.audit.check import Chain, Check
from headrace.audit.deep import Digests
from headrace.audit.reading import entry_wire, read, scan_entries
from headrace.messages.errors import DependencyUnavailable
from headrace.pipeline import STAGES
from headrace.runtime import foldstate
from headrace.runtime.scan import Scan, committed_states
from headrace.settings import MeshSettings
from headrace.topology.spec import load_all

_STAGE: Final = STAGES["audit"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. ``records`` are source records that were held against their entries; ``seconds`` is the whole time."""

    chains: tuple[Chain, ...]
    entries: int
    records: int
    seconds: float

    @property
    def broken(self) -> tuple[Chain, ...]:
        return tuple(chain for chain in self.chains if chain.broken)


async def verify(settings: MeshSettings, topics: Collection[str] = (), *, deep: bool = False) -> Report:
    """Check the chains of ``topics`` (none: all).

    Raises:
        DependencyUnavailable: Kafka or the schema registry can't be reached, or there is no ``audit.events``.
    """
    started = time.perf_counter()
    wanted = frozenset(topics)
    before = await _committed(settings)
    digests: dict[str, Digests] = {}
    entries = 0
    async with entry_wire(settings) as wire, scan_entries(settings) as scan:
        if not scan.first:
            raise DependencyUnavailable("there is no topic audit.events (headrace topics apply makes it)")
        check = Check(frozenset(partition for (_, partition), first in scan.first.items() if first > 0))
        async for found in read(wire, scan):
            if wanted and found.key.rpartition("/")[0] not in wanted:
                continue
            entries += 1
            good = check.add(found)
            if good is not None and deep:
                digests.setdefault(good.chain, Digests()).add(good)
    after = await _committed(settings)
    chains = check.finish(_only(before, wanted), _only(after, wanted))
    if deep:
        await _hold_against_sources(settings, digests)
        for chain in chains:
            if chain.broken is None and chain.name in digests:
                chain.broken = digests[chain.name].broken
    records = sum(digest.records for digest in digests.values())
    return Report(tuple(chains), entries, records, time.perf_counter() - started)


async def _hold_against_sources(settings: MeshSettings, digests: dict[str, Digests]) -> None:
    topics = sorted({name.rpartition("/")[0] for name in digests} & set(_STAGE.consumes))
    compacted = {name for name, spec in load_all().items() if spec.cleanup == "compact"}
    async with Scan(settings, topics) as scan:
        for (topic, partition), first in scan.first.items():
            if digest := digests.get(f"{topic}/{partition}"):
                digest.begin(first)
        async for batch in scan:
            for record in batch:
                if digest := digests.get(f"{record.topic}/{record.partition}"):
                    digest.check(record, compacted=record.topic in compacted)
        for (topic, partition), end in scan.ends.items():
            if digest := digests.get(f"{topic}/{partition}"):
                digest.end(end, compacted=topic in compacted)


async def _committed(settings: MeshSettings) -> dict[str, Head]:
    """The heads that the service has committed, by chain."""
    states = await asyncio.to_thread(committed_states, settings, _STAGE.group, _STAGE.consumes)
    found = {f"{topic}/{partition}": foldstate.decode(text)[0] for (topic, partition), (_, text) in states.items()}
    return {chain: Head.parse(state) for chain, state in found.items() if state}


def _only(heads: dict[str, Head], topics: Collection[str]) -> dict[str, Head]:
    return {chain: head for chain, head in heads.items() if not topics or chain.rpartition("/")[0] in topics}
