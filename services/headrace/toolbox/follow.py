"""The composite tools that agents are offered, in memory: read again within two seconds of a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger
from headrace.toolbox.composites import Composite, Composites

log = get_logger(__name__)


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
    following = asyncio.create_task(_follow(composites, offers, every_s), name="composite-tools")
    try:
        yield offers
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def _follow(composites: Composites, offers: Offers, every_s: float) -> None:
    seen: str | None = None
    failing = False
    while True:
        try:
            stamp = await composites.stamp()
            if stamp != seen:
                offers.replace(await composites.offered())
                seen = stamp
        except HeadraceError as error:
            if not failing:  # once for an outage
                log.warning("composite_tools_not_read", reason=str(error))
            failing = True
        else:
            failing = False
        await asyncio.sleep(every_s)
