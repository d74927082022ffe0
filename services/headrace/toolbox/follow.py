"""The composite tools that agents are offered, in memory: read again within two seconds of a change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from headrace.postgres.repeated import repeated
from headrace.toolbox.composites import Composite, Composites


class Offers:
    """By tenant, the oldest first. ``revision`` counts how often they changed."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, list[Composite]] = {}
        self.revision = 0

    def of(self, tenant: str) -> Sequence[Composite]:
        return self._by_tenant.get(tenant, ())

    def replace(self, composites: Sequence[Composite]) -> None:
        by_tenant: dict[str, list[Composite]] = {}
        for composite in composites:
            by_tenant.setdefault(composite.tenant, []).append(composite)
        self._by_tenant = by_tenant
        self.revision += 1


@asynccontextmanager
async def followed_offers(composites: Composites, *, every_s: float = 2.0) -> AsyncIterator[Offers]:
    """Kept up to date in the background. While Postgres is away they stay as they are."""
    offers = Offers()
    seen: str | None = None

    async def read() -> None:
        nonlocal seen
        stamp = await composites.stamp()
        if stamp != seen:
            offers.replace(await composites.offered())
            seen = stamp

    async with repeated(read, every_s=every_s, name="composite-tools", failed="composite_tools_not_read"):
        yield offers
