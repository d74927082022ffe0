"""One suite over all adapters of ``Claims``, then what only replicas on one database can get wrong."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from headrace.claims import Claim, Outcome
from headrace.claims.memory import MemoryClaims
from headrace.claims.postgres import PostgresClaims
from headrace.postgres.pool import open_pool
from tests.postgres.database import mesh_settings

Adapter = MemoryClaims | PostgresClaims


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "postgres"])
def claims(request: pytest.FixtureRequest, clock: Clock) -> Adapter:
    return MemoryClaims(clock) if request.param == "memory" else PostgresClaims(request.getfixturevalue("pool"), clock)


async def test_outcomes(claims: Adapter) -> None:
    first = Claim("s", "k", "t/0/1", "aa")
    assert await claims.claim(first) is Outcome.FIRST
    assert await claims.claim(first) is Outcome.AGAIN
    assert await claims.claim(Claim("s", "k", "t/0/1", "bb")) is Outcome.AGAIN
    assert await claims.claim(Claim("s", "k", "t/0/2", "aa")) is Outcome.DUPLICATE
    assert await claims.claim(Claim("s", "k", "t/0/2")) is Outcome.DUPLICATE
    assert await claims.claim(Claim("s", "k", "t/0/3", "bb")) is Outcome.CONFLICT
    assert await claims.claim(Claim("s", "other", "t/0/2", "aa")) is Outcome.FIRST
    assert await claims.claim(Claim("other", "k", "t/0/2", "aa")) is Outcome.FIRST


async def test_many_at_once_are_claimed_in_their_order(claims: Adapter) -> None:
    await claims.claim(Claim("s", "held", "t/0/0", "aa"))
    given = [
        Claim("s", "held", "t/0/9", "aa"),
        Claim("s", "new", "t/0/1", "aa"),
        Claim("s", "new", "t/0/2", "bb"),
        Claim("s", "new", "t/0/1", "aa"),
    ]
    assert await claims.claim_all(given) == [Outcome.DUPLICATE, Outcome.FIRST, Outcome.CONFLICT, Outcome.AGAIN]
    assert await claims.claim_all([]) == []


async def test_a_holder_without_digest_never_conflicts(claims: Adapter) -> None:
    await claims.claim(Claim("s", "k", "t/0/1"))
    assert await claims.claim(Claim("s", "k", "t/0/2", "aa")) is Outcome.DUPLICATE


async def test_equal_names_at_the_same_moment(claims: Adapter) -> None:
    given = [Claim("s", "k", "t/0/1", "aa"), Claim("s", "k", "t/0/1", "aa"), Claim("s", "k", "t/0/2", "bb")]
    answers = await asyncio.gather(*(claims.claim(claim) for claim in given))
    assert answers == [Outcome.FIRST, Outcome.AGAIN, Outcome.CONFLICT]


@pytest.mark.parametrize("key", ["", "\x00", "a\x00b", "ключ 🔑", "x" * 100_000, "'; DROP TABLE claims; --"])
async def test_any_text_is_a_key(claims: Adapter, key: str) -> None:
    assert await claims.claim(Claim("s", key, "t/0/1")) is Outcome.FIRST
    assert await claims.claim(Claim("s", key, "t/0/2")) is Outcome.DUPLICATE


async def test_long_keys_with_the_same_beginning_differ(claims: Adapter) -> None:
    assert await claims.claim(Claim("s", "x" * 5_000 + "1", "t/0/1")) is Outcome.FIRST
    assert await claims.claim(Claim("s", "x" * 5_000 + "2", "t/0/2")) is Outcome.FIRST


async def test_old_claims_are_forgotten_and_new_ones_are_kept(claims: Adapter, clock: Clock) -> None:
    await claims.claim(Claim("s", "old", "t/0/1"))
    clock.time += timedelta(hours=71)
    await claims.claim(Claim("s", "new", "t/0/2"))
    assert await claims.forget(timedelta(hours=72)) == 0
    clock.time += timedelta(hours=2)
    assert await claims.forget(timedelta(hours=72)) == 1
    assert await claims.claim(Claim("s", "old", "t/0/9")) is Outcome.FIRST
    assert await claims.claim(Claim("s", "new", "t/0/9")) is Outcome.DUPLICATE


async def test_64_claimants_of_many_keys_have_one_first_each(pool: asyncpg.Pool, database_url: str) -> None:
    """Four replicas, each with connections of its own, 16 claimants each, all keys in another order."""
    keys = [f"key-{number}" for number in range(300)]

    async def claimant(adapter: PostgresClaims, number: int) -> list[tuple[str, Outcome]]:
        order = random.Random(number).sample(keys, len(keys))
        outcomes = await asyncio.gather(*(adapter.claim(Claim("s", key, f"t/{number}/0")) for key in order))
        return list(zip(order, outcomes, strict=True))

    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_pool(mesh_settings(database_url), max_size=2)) for _ in range(4)]
        replicas = [PostgresClaims(each) for each in pools]
        answers = await asyncio.gather(*(claimant(replicas[number % 4], number) for number in range(64)))
    firsts = Counter(key for answer in answers for key, outcome in answer if outcome is Outcome.FIRST)
    others = {outcome for answer in answers for _, outcome in answer} - {Outcome.FIRST}
    assert firsts == Counter(keys)
    assert others == {Outcome.DUPLICATE}


async def until_blocked(pool: asyncpg.Pool) -> None:
    for _ in range(1_000):
        if await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        (Claim("s", "k", "t/9/9", "aa"), Outcome.AGAIN),
        (Claim("s", "k", "t/0/1", "aa"), Outcome.DUPLICATE),
        (Claim("s", "k", "t/0/1", "bb"), Outcome.CONFLICT),
    ],
)
async def test_a_claim_that_another_commits_meanwhile(pool: asyncpg.Pool, claim: Claim, outcome: Outcome) -> None:
    """The other's row is not visible to the statement that met it: it has to ask again."""
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("INSERT INTO claims VALUES ('s', 'k', 't/9/9', 'aa', now())")
        waiting = asyncio.create_task(PostgresClaims(pool).claim(claim))
        await until_blocked(pool)
        await transaction.commit()
    assert await waiting is outcome


async def test_deliveries_shows_what_ingest_claimed(pool: asyncpg.Pool) -> None:
    claims = PostgresClaims(pool)
    await claims.claim(Claim("delivery:default:/webhooks/github", "d-1", "ingest.raw/0/5"))
    await claims.claim(Claim("request:default", "r-1", "x"))
    rows = await pool.fetch("SELECT scope, delivery_id, position FROM deliveries")
    assert [tuple(row) for row in rows] == [("delivery:default:/webhooks/github", "d-1", "ingest.raw/0/5")]
