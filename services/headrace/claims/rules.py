"""What all adapters share: how a later claim compares with the one that holds the name, and the default clock."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.claims import Claim, Outcome


def utc_now() -> datetime:
    return datetime.now(UTC)


def verdict(claim: Claim, held_position: str, held_digest: str) -> Outcome:
    """Outcome of ``claim`` where another call already holds its name. A missing digest on either side can't conflict."""
    if claim.position == held_position:
        return Outcome.AGAIN
    if claim.digest and held_digest and claim.digest != held_digest:
        return Outcome.CONFLICT
    return Outcome.DUPLICATE
