"""Is this delivery from who it says? What every verifier is given and answers; each scheme's own is in the file of its kind.

``signatures`` (HMAC and Ed25519), ``credentials`` (tokens, passwords, client certificates), ``sns`` (signed by a certificate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Incoming:
    """A delivery as it came. ``headers`` by lower-case name, ``now`` our clock in epoch seconds, ``query`` as in the URL."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    now: float
    query: str = field(default="", repr=False)


class Verifier(Protocol):
    def presented(self, delivery: Incoming) -> bool:
        """Whether the delivery has anything that this verifier could judge."""
        ...

    async def verify(self, delivery: Incoming) -> bool:
        """Whether it is authentic. Raises ``DependencyUnavailable`` where that can't be told now."""
        ...


class FirstPresented:
    """Several schemes in order: the first that the delivery has something for decides, so a wrong proof is never made up for by
    another one.
    """

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    def presented(self, delivery: Incoming) -> bool:
        return any(verifier.presented(delivery) for verifier in self._verifiers)

    async def verify(self, delivery: Incoming) -> bool:
        for verifier in self._verifiers:
            if verifier.presented(delivery):
                return await verifier.verify(delivery)
        return False
