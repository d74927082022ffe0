"""Claims in memory: for tests, and for one process that may forget them when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from headrace.claims import Claim, Outcome
from headrace.claims.rules import utc_now, verdict


class MemoryClaims:
    """``Claims`` in a dict. ``now`` is the clock that a claim's age is measured by."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._held: dict[tuple[str, str], tuple[Claim, datetime]] = {}
        self._now = now

    async def claim(self, claim: Claim) -> Outcome:
        name = (claim.scope, claim.key)
        if name not in self._held:
            self._held[name] = (claim, self._now())
            return Outcome.FIRST
        held, _ = self._held[name]
        return verdict(claim, held.position, held.digest)

    async def claim_all(self, claims: Sequence[Claim]) -> list[Outcome | Exception]:
        return [await self.claim(claim) for claim in claims]

    async def forget(self, older_than: timedelta) -> int:
        """Drop the claims that are older than the window; how many."""
        limit = self._now() - older_than
        old = [name for name, (_, claimed_at) in self._held.items() if claimed_at < limit]
        for name in old:
            del self._held[name]
        return len(old)
