"""Keys and tokens on a real database: what counts, for how long, and when a revocation is seen."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from headrace.auth import Principal, Refused, Role, keys, tokens
from headrace.auth.authenticator import Authenticator
from headrace.auth.store import AuthStore, StoredKey
from headrace.messages.errors import DependencyUnavailable
from tests.auth.credentials import FOREIGN, NOW, OLDER, SECRET, TENANT, Issuer, forged, other_secret
from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "pool"]


@pytest.fixture
async def issuer(pool: asyncpg.Pool) -> Issuer:
    return Issuer(AuthStore(pool))


async def reason(issuer: Issuer, credential: str) -> str:
    with pytest.raises(Refused) as refused:
        await issuer.authenticator.principal(credential)
    assert credential == "" or credential not in str(refused.value)
    return refused.value.reason


@pytest.mark.parametrize("role", list(Role))
async def test_a_key_and_a_token_say_who_calls(issuer: Issuer, role: Role) -> None:
    key = await issuer.key(role)
    assert await issuer.authenticator.principal(key) == Principal(keys.key_id_of(key) or "", TENANT, role)
    found = await issuer.authenticator.principal(await issuer.token(role))
    assert (found.tenant, found.role, found.expires_at) == (TENANT, role, NOW + timedelta(minutes=60))


@pytest.mark.parametrize("owners", [None, frozenset(), frozenset({"shop-team", "ä b"})])
async def test_both_say_whom_they_speak_for(issuer: Issuer, owners: frozenset[str] | None) -> None:
    for make in (issuer.key, issuer.token):
        for role in (Role.DEVELOPER, Role.ADMIN):
            found = await issuer.authenticator.principal(await make(role, owners=owners))
            assert found.owners == owners
            assert found.speaks_for("another") == (owners is None or role == Role.ADMIN)
            assert owners is None or all(found.speaks_for(owner) for owner in owners)


async def test_what_is_stored_of_a_key_is_no_part_of_it(issuer: Issuer, pool: asyncpg.Pool) -> None:
    key = await issuer.key()
    row = repr(dict(await pool.fetchrow("SELECT * FROM auth_keys")))
    assert key.rpartition("_")[2] not in row
    assert keys.digest(key, SECRET) != keys.digest(key, OLDER)


async def test_wrong_credentials(issuer: Issuer) -> None:
    key = await issuer.key()
    assert await reason(issuer, other_secret(key)) == "unknown"
    assert await reason(issuer, keys.new_key()[1]) == "unknown"
    assert await reason(issuer, key + "A") == "malformed"
    assert await reason(issuer, await issuer.key(pepper=FOREIGN)) == "unknown"
    assert await reason(issuer, await issuer.token(secret=FOREIGN)) == "unknown"
    for garbage in ("", "x", "a.b.c", "é" * 40, "x" * 5000, "hrk_", "hrk_\0"):
        assert await reason(issuer, garbage) == "malformed"


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "iat", "exp", "jti", "tenant", "role"])
async def test_a_token_has_every_claim(issuer: Issuer, claim: str) -> None:
    await issuer.authenticator.principal(forged())  # as it is, it counts
    assert await reason(issuer, forged(without=claim)) == "malformed"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"role": "root"},
        {"role": "ADMIN"},
        {"role": 3},
        {"tenant": ""},
        {"tenant": ["acme"]},
        {"jti": ""},
        {"exp": "soon"},
        {"exp": 1e300},
        {"owners": "ada"},
        {"owners": None},
        {"owners": ["ada", 3]},
        {"owners": [""]},
        {"owners": ["ada"] * 101},
    ],
)
async def test_claims_of_another_kind(issuer: Issuer, changed: dict[str, object]) -> None:
    assert await reason(issuer, forged(**changed)) == "malformed"


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_no_algorithm_but_hs256(issuer: Issuer, algorithm: str) -> None:
    assert await reason(issuer, forged(algorithm=algorithm)) == "malformed"


async def test_any_changed_character_of_a_token_is_refused(issuer: Issuer) -> None:
    token = await issuer.token()
    for at, character in enumerate(token[:-1]):  # the last has bits that say nothing
        changed = token[:at] + ("A" if character != "A" else "B") + token[at + 1 :]
        assert await reason(issuer, changed) in ("malformed", "unknown"), at


async def test_they_expire_also_while_they_are_held(issuer: Issuer) -> None:
    key = await issuer.key(expires=NOW + timedelta(seconds=1))
    token = await issuer.token(issued=NOW - timedelta(minutes=60) + timedelta(seconds=1))
    for credential in (key, token):
        await issuer.authenticator.principal(credential)
    issuer.clock.seconds = 1.0  # within what is held
    for credential in (key, token):
        assert await reason(issuer, credential) == "expired"


async def test_a_revocation_is_seen_when_what_is_held_is_over_and_no_later(issuer: Issuer) -> None:
    key, token = await issuer.key(), await issuer.token()
    jti = (await issuer.authenticator.principal(token)).id
    await issuer.authenticator.principal(key)
    assert await issuer.store.revoke_key(TENANT, keys.key_id_of(key) or "", NOW)
    await issuer.store.revoke_token(jti, NOW + timedelta(hours=1), NOW)
    issuer.clock.seconds = 1.9
    await issuer.authenticator.principal(key)
    issuer.clock.seconds = 2.0
    for credential in (key, token):
        assert await reason(issuer, credential) == "revoked"


async def test_without_a_cache_a_revocation_is_seen_at_once(pool: asyncpg.Pool) -> None:
    issuer = Issuer(AuthStore(pool), cache_s=0)
    key = await issuer.key()
    await issuer.authenticator.principal(key)
    await issuer.store.revoke_key(TENANT, keys.key_id_of(key) or "", NOW)
    assert await reason(issuer, key) == "revoked"


async def test_only_the_tenant_s_own_keys_are_listed_and_revoked(issuer: Issuer) -> None:
    mine, theirs = await issuer.key(), await issuer.key(tenant="other")
    assert [key.key_id for key in await issuer.store.keys(TENANT)] == [keys.key_id_of(mine)]
    assert not await issuer.store.revoke_key(TENANT, keys.key_id_of(theirs) or "", NOW)
    assert (await issuer.authenticator.principal(theirs)).tenant == "other"


async def test_the_older_secret_still_checks_what_it_made(issuer: Issuer) -> None:
    await issuer.authenticator.principal(await issuer.key(pepper=OLDER))
    await issuer.authenticator.principal(await issuer.token(secret=OLDER))
    alone = Authenticator(issuer.store, (SECRET,), now=issuer.clock.now)
    with pytest.raises(Refused, match="unknown"):
        await alone.principal(await issuer.token(secret=OLDER))


async def test_revocations_of_tokens_that_are_over_are_forgotten(issuer: Issuer, pool: asyncpg.Pool) -> None:
    await issuer.store.revoke_token("old", NOW, NOW)
    await issuer.store.revoke_token("new", NOW + timedelta(hours=1), NOW + timedelta(seconds=1))
    assert [row["jti"] for row in await pool.fetch("SELECT jti FROM auth_revoked_tokens")] == ["new"]


@pytest.mark.parametrize("minutes", [0, 1441])
def test_a_token_lives_a_minute_to_a_day(minutes: int) -> None:
    with pytest.raises(ValueError, match="1 to 1440"):
        tokens.issue(SECRET, tenant=TENANT, role=Role.VIEWER, subject="a", now=NOW, minutes=minutes)


class Counting(AuthStore):
    """The real store, with its questions counted."""

    asked = 0

    async def key(self, key_id: str) -> StoredKey | None:
        self.asked += 1
        return await super().key(key_id)


async def test_many_requests_ask_once(pool: asyncpg.Pool) -> None:
    store = Counting(pool)
    issuer = Issuer(store)
    key = await issuer.key()
    await asyncio.gather(*(issuer.authenticator.principal(key) for _ in range(50)))
    await issuer.authenticator.principal(key)
    assert store.asked == 1
    issuer.clock.seconds = 2.0
    await issuer.authenticator.principal(key)
    assert store.asked == 2


async def test_without_the_database_nobody_is_let_in_whose_time_is_over(pool: asyncpg.Pool) -> None:
    issuer = Issuer(AuthStore(pool))
    key = await issuer.key()
    await issuer.authenticator.principal(key)
    await pool.close()
    await issuer.authenticator.principal(key)
    issuer.clock.seconds = 2.0
    with pytest.raises(DependencyUnavailable):
        await issuer.authenticator.principal(key)
