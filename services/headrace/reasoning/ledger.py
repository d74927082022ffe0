"""Whether a job is a run of its own: was its name taken, and has its run ended? Asked of Postgres for many jobs at once.

A claim on (tenant, job id) makes the first record with a job id the run; the very same record read again (crash before its
commit, rewind) goes on. The index follows the flow, so "not ended" may be a moment late; "ended" is final, and outlives claims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import asyncpg

from headrace.claims import Claim, Claims, Outcome
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

Verdict = Literal["new", "duplicate", "finished"]

_ENDED = """
SELECT asked.number
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tenant, run_id, number)
JOIN runs ON runs.tenant = asked.tenant AND runs.run_id = asked.run_id AND runs.state IN ('completed', 'failed')
"""


class Asked(NamedTuple):
    """A job and the place where it was read."""

    tenant: str
    run_id: str
    position: str


class Ledger(Protocol):
    """Raises ``DependencyUnavailable`` while what it needs is away."""

    async def begin_all(self, asked: Sequence[Asked]) -> Sequence[Verdict | Exception]:
        """Claim each run; whether it may begin, or the error that this one met."""
        ...


class Ended(Protocol):
    """Which runs have their result already."""

    async def ended_all(self, asked: Sequence[Asked]) -> Sequence[bool]: ...


class ClaimedRuns:
    """A ``Ledger`` of claims and of the index of runs, asked side by side."""

    def __init__(self, claims: Claims, ended: Ended) -> None:
        self._claims = claims
        self._ended = ended

    async def begin_all(self, asked: Sequence[Asked]) -> Sequence[Verdict | Exception]:
        claims = [Claim(f"run:{one.tenant}", one.run_id, one.position) for one in asked]
        outcomes, ended = await asyncio.gather(self._claims.claim_all(claims), self._ended.ended_all(asked))
        return [_verdict(outcome, over) for outcome, over in zip(outcomes, ended, strict=True)]


class PostgresEnded:
    """``Ended`` by the index of runs."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ended_all(self, asked: Sequence[Asked]) -> Sequence[bool]:
        with translated(), encoding():
            tenants = [storable_text(one.tenant) for one in asked]
            rows = await self._pool.fetch(_ENDED, tenants, [storable_text(one.run_id) for one in asked])
        ended = [False] * len(asked)
        for row in rows:
            ended[row[0] - 1] = True
        return ended


def _verdict(outcome: Outcome | Exception, ended: bool) -> Verdict | Exception:
    if isinstance(outcome, Exception):
        return outcome
    if outcome not in (Outcome.FIRST, Outcome.AGAIN):
        return "duplicate"
    return "finished" if ended else "new"
