"""Credentials of every kind, made on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from headrace.auth import Role, keys, tokens
from headrace.auth.authenticator import Authenticator
from headrace.auth.store import AuthStore, StoredKey

SECRET = b"planted-secret-of-the-tests-0123456789"
OLDER = b"planted-older-secret-of-tests-0123456789"
FOREIGN = b"planted-secret-of-somebody-else-0123456789"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TENANT = "acme"


class Clock:
    """A wall clock and a monotonic one that go together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Issuer:
    """Makes credentials as the command line does. ``authenticator`` checks them by ``clock``."""

    def __init__(self, store: AuthStore, cache_s: float = 2.0) -> None:
        self.store = store
        self.clock = Clock()
        self.authenticator = Authenticator(
            store, (SECRET, OLDER), cache_s=cache_s, now=self.clock.now, clock=self.clock.monotonic
        )

    async def key(
        self,
        role: Role = Role.ADMIN,
        *,
        tenant: str = TENANT,
        expires: datetime | None = None,
        revoked: bool = False,
        pepper: bytes = SECRET,
        owners: frozenset[str] | None = None,
    ) -> str:
        key_id, key = keys.new_key()
        digest, made = keys.digest(key, pepper), NOW - timedelta(days=1)
        await self.store.add_key(StoredKey(key_id, tenant, "a test", role, digest, made, expires, owners=owners))
        if revoked:
            assert await self.store.revoke_key(tenant, key_id, NOW)
        return key

    async def token(
        self,
        role: Role = Role.ADMIN,
        *,
        tenant: str = TENANT,
        issued: datetime = NOW,
        revoked: bool = False,
        secret: bytes = SECRET,
        owners: frozenset[str] | None = None,
    ) -> str:
        token, principal = tokens.issue(secret, tenant=tenant, role=role, subject="alice", now=issued, owners=owners)
        if revoked:
            assert principal.expires_at is not None
            await self.store.revoke_token(principal.id, principal.expires_at, NOW)
        return token


def forged(secret: bytes = SECRET, algorithm: str = "HS256", without: str = "", **changed: Any) -> str:
    """A token whose claims are as ours, but for what is said."""
    claims: dict[str, Any] = {
        "iss": "headrace",
        "aud": "headrace",
        "sub": "alice",
        "iat": NOW,
        "exp": NOW + timedelta(minutes=60),
        "jti": "0" * 32,
        "tenant": TENANT,
        "role": "admin",
        **changed,
    }
    claims.pop(without, None)
    return jwt.encode(claims, secret if algorithm != "none" else None, algorithm=algorithm)


def other_secret(key: str) -> str:
    """The same key id with another secret."""
    return key[:-1] + ("A" if key[-1] != "A" else "B")
