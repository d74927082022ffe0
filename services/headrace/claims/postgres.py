"""Claims in the table ``claims``: correct under any number of replicas, many claims in one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from headrace.claims import Claim, Outcome
from headrace.claims.rules import utc_now, verdict
from headrace.messages.errors import BadMessage
from headrace.postgres.batch import Coalescer
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

_MAX_NAME: Final = 300  # characters: scope and key together must fit an index row of 2,700 bytes
_MAX_PREFIX: Final = 64

# Inserts in key order, so that two replicas with the same names can't wait for each other. Names are told apart beforehand. What
# comes back is what was not simply the first, which is little as a rule. A name that another replica commits while this runs is
# neither inserted nor yet visible: its row comes back without a holder, and the caller asks again.
_CLAIM: Final = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        WITH ORDINALITY AS given (scope, key, position, digest, number)
), inserted AS (
    INSERT INTO claims (scope, key, position, digest, claimed_at)
    SELECT scope, key, position, digest, $5::timestamptz FROM given ORDER BY scope, key
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING scope, key
)
SELECT given.number, claims.position, claims.digest
FROM given LEFT JOIN inserted USING (scope, key) LEFT JOIN claims USING (scope, key)
WHERE inserted.scope IS NULL
"""
_FORGET: Final = "DELETE FROM claims WHERE claimed_at < $1"


class PostgresClaims:
    """``Claims`` on a pool. ``now`` is the clock that a claim's age is measured by."""

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._now = now
        self._coalescer: Coalescer[Claim, Outcome] = Coalescer(self._claim_all)

    async def claim(self, claim: Claim) -> Outcome:
        return await self._coalescer.submit(claim)

    async def claim_all(self, claims: Sequence[Claim]) -> list[Outcome | Exception]:
        try:
            return list(await self._claim_all(claims)) if claims else []
        except BadMessage:  # one of them can't be stored: found by halving
            return await self._coalescer.submit_all(claims)

    async def forget(self, older_than: timedelta) -> int:
        """Drop the claims that are older than the window; how many."""
        with translated():
            done = await self._pool.execute(_FORGET, self._now() - older_than)
        return int(done.removeprefix("DELETE "))

    async def close(self) -> None:
        """Wait for the claims under way; refuse new ones."""
        await self._coalescer.close()

    async def _claim_all(self, claims: Sequence[Claim]) -> list[Outcome]:
        firsts: dict[tuple[str, str], int] = {}  # of each name in the batch
        for number, claim in enumerate(claims):
            firsts.setdefault((claim.scope, claim.key), number)
        held = await self._held(claims, list(firsts.values()))
        return [_outcome(claims, held, number, firsts) for number in range(len(claims))]

    async def _held(self, claims: Sequence[Claim], asked: list[int]) -> dict[int, tuple[str, str]]:
        """Position and digest that hold the names of these claims, those left out that hold it now themselves."""
        held: dict[int, tuple[str, str]] = {}
        while asked:
            unclear: list[int] = []
            for row in await self._round([claims[number] for number in asked]):
                number = asked[row["number"] - 1]
                if row["position"] is None:
                    unclear.append(number)
                else:
                    held[number] = row["position"], row["digest"]
            asked = unclear
        return held

    async def _round(self, claims: Sequence[Claim]) -> Sequence[asyncpg.Record]:
        columns = (
            [_name(claim.scope) for claim in claims],
            [_name(claim.key) for claim in claims],
            [storable_text(claim.position) for claim in claims],
            [storable_text(claim.digest) for claim in claims],
        )
        with translated(), encoding():
            return await self._pool.fetch(_CLAIM, *columns, self._now())


def _outcome(
    claims: Sequence[Claim], held: dict[int, tuple[str, str]], number: int, firsts: dict[tuple[str, str], int]
) -> Outcome:
    claim = claims[number]
    first = firsts[claim.scope, claim.key]
    if holder := held.get(first):
        return verdict(claim, *holder)
    return Outcome.FIRST if number == first else verdict(claim, claims[first].position, claims[first].digest)


def _name(text: str) -> str:
    """``text`` as a column that an index can hold: of a very long one its start, which tells scopes apart, and its hash."""
    if len(text) <= _MAX_NAME:
        return storable_text(text)
    return f"{storable_text(text[:_MAX_PREFIX])}~sha256:{hashlib.sha256(text.encode()).hexdigest()}"
