"""Claims: who was first. The one mechanism behind dedup by delivery id and admission by run id.

A claim binds a name (``scope`` + ``key``) to the position of the record that claimed it. Reading the *same record* again (crash
before its commit, rebalance, rewind) finds its own claim and goes on; *another record* with the same name is a duplicate. So
dedup needs no transaction with Kafka. Claims are kept for a window (72 h for deliveries), then forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class Outcome(StrEnum):
    FIRST = "first"  # nobody had claimed it
    AGAIN = "again"  # this very record had: it is being read again
    DUPLICATE = "duplicate"  # another record had, with the same digest (or none was given)
    CONFLICT = "conflict"  # another record had, with another digest: the same name for other content


class Claim(msgspec.Struct, frozen=True, gc=False):
    """``position`` is the claimant's ``str(Source)``; ``digest`` (hex) of the content tells a duplicate from a conflict."""

    scope: str
    key: str
    position: str
    digest: str = ""


class Claims(Protocol):
    """Adapters: ``claims.postgres``, ``claims.memory``. Raises ``DependencyUnavailable`` when the store is away."""

    async def claim(self, claim: Claim) -> Outcome: ...

    async def claim_all(self, claims: Sequence[Claim]) -> list[Outcome | Exception]:
        """The outcome of each, as if claimed in this order, or the error that it met."""
        ...
