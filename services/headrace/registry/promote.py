"""Which version is live, changed: for all keys, for a share of them, or back. Each change is one record on ``agent.definitions``.

A change is decided by what is there and written only if nobody changed it meanwhile, however many processes do so at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.agent import AgentRecord
from headrace.registry import pointer
from headrace.registry.catalog import Catalog
from headrace.registry.pointer import By, UnknownAgent, UnknownVersion, check_revision
from headrace.registry.read import read_catalog
from headrace.runtime.fenced import Overtaken, fenced
from headrace.settings import MeshSettings

_WRITERS: Final = "registry.definitions"
_ATTEMPTS: Final = 8
_PAUSE_S: Final = 0.2

T = TypeVar("T")
Decide = Callable[[Catalog], tuple[T, Sequence[AgentRecord]]]


def by(who: str, reason: str | None = None) -> By:
    """Whoever changes it now."""
    return By(who, datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"), reason)


async def promote(
    settings: MeshSettings,
    name: str,
    version: str,
    who: By,
    *,
    percent: float | None = None,
    base: int | None = None,
) -> AgentRecord:
    """Make ``version`` live for all keys, or as a canary for ``percent`` of them (above 0, below 100). The pointer after it.

    ``base``: the revision that this was decided by. Raises ``CantChange`` (by its ``cause``), ``DependencyUnavailable``.
    """

    def decide(there: AgentRecord | None) -> AgentRecord:
        if percent is None:
            return pointer.promoted(there, name, version, who)
        return pointer.canary(there, version, percent, who)

    return await written(settings, partial(_decided, name, base, decide))


async def roll_back(settings: MeshSettings, name: str, who: By, *, base: int | None = None) -> AgentRecord:
    """End the canary, or if there is none make live again what was so before. As ``promote``."""
    return await written(settings, partial(_decided, name, base, lambda there: pointer.rolled_back(there, who)))


async def written(settings: MeshSettings, decide: Decide[T]) -> T:
    """What ``decide`` says of everything that is published, once its records are written; it may be asked again.

    Raises what ``decide`` raises, and ``DependencyUnavailable``.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            # Definitions are never large enough for a claim check: the topic is read whole by everybody.
            async with fenced(settings, _WRITERS, MemoryBlobs()) as writer:
                said, records = decide(await read_catalog(settings))
                if records:
                    await writer.write(records)
                return said
        except Overtaken:
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(random.uniform(0, _PAUSE_S * attempt))  # noqa: S311 (so that two don't meet again)
    raise AssertionError("the last attempt returns or raises")


def _decided(
    name: str, base: int | None, decide: Callable[[AgentRecord | None], AgentRecord], catalog: Catalog
) -> tuple[AgentRecord, Sequence[AgentRecord]]:
    versions = catalog.versions(name)
    if not versions:
        raise UnknownAgent(f"no agent {name} is published")
    there = catalog.pointer(name)
    check_revision(there, base)
    made = decide(there)
    for version in {made.live_version or "", *([made.canary.version] if made.canary else [])} - set(versions):
        raise UnknownVersion(f"no version {version} of {name} is published (there are: {', '.join(versions)})")
    return made, () if made is there else (made,)
