"""Keys and revocations in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from headrace.auth import Role, role_of
from headrace.postgres.errors import translated

_COLUMNS: Final = "key_id, tenant, name, role, digest, created_at, expires_at, owners, revoked_at"
_INSERT: Final = f"INSERT INTO auth_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)"  # noqa: S608  # constants
_LIST: Final = f"SELECT {_COLUMNS} FROM auth_keys WHERE tenant = $1 ORDER BY created_at DESC, key_id"  # noqa: S608
_FIND: Final = f"SELECT {_COLUMNS} FROM auth_keys WHERE key_id = $1"  # noqa: S608
_REVOKE_KEY: Final = """
UPDATE auth_keys SET revoked_at = coalesce(revoked_at, $3) WHERE tenant = $1 AND key_id = $2 RETURNING true
"""
_REVOKE_JTI: Final = """
INSERT INTO auth_revoked_tokens (jti, revoked_at, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (jti) DO UPDATE SET expires_at = greatest(auth_revoked_tokens.expires_at, EXCLUDED.expires_at)
"""
_FORGET: Final = "DELETE FROM auth_revoked_tokens WHERE expires_at < $1"
_IS_REVOKED: Final = "SELECT EXISTS (SELECT FROM auth_revoked_tokens WHERE jti = $1)"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of ``auth_keys``."""

    key_id: str
    tenant: str
    name: str
    role: Role
    digest: bytes
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    owners: frozenset[str] | None = None  # None: it may speak for anybody


class AuthStore:
    """Raises ``DependencyUnavailable`` while the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add_key(self, key: StoredKey) -> None:
        owners = None if key.owners is None else sorted(key.owners)
        values = (key.key_id, key.tenant, key.name, str(key.role), key.digest, key.created_at, key.expires_at)
        with translated():
            await self._pool.execute(_INSERT, *values, owners)

    async def key(self, key_id: str) -> StoredKey | None:
        with translated():
            row = await self._pool.fetchrow(_FIND, key_id)
        return None if row is None else _key(row)

    async def keys(self, tenant: str) -> list[StoredKey]:
        """Newest first, revoked ones too."""
        with translated():
            return [_key(row) for row in await self._pool.fetch(_LIST, tenant)]

    async def revoke_key(self, tenant: str, key_id: str, now: datetime) -> bool:
        """Whether there is such a key. Revoking it again changes nothing."""
        with translated():
            return bool(await self._pool.fetchval(_REVOKE_KEY, tenant, key_id, now))

    async def revoke_token(self, jti: str, expires_at: datetime, now: datetime) -> None:
        """``expires_at``: when the token ends by itself, or a time that is surely later. Drops what is past that."""
        with translated():
            await self._pool.execute(_REVOKE_JTI, jti, now, expires_at)
            await self._pool.execute(_FORGET, now)

    async def token_revoked(self, jti: str) -> bool:
        with translated():
            return bool(await self._pool.fetchval(_IS_REVOKED, jti))


def _key(row: asyncpg.Record) -> StoredKey:
    owners = None if row["owners"] is None else frozenset(row["owners"])
    return StoredKey(**{**dict(row), "role": role_of(row["role"]), "owners": owners})
