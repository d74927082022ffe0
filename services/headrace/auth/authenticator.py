"""From a credential to who it stands for.

What was found of a credential counts for ``cache_s`` and is then asked again, so a revocation is seen by every gateway within that
time, and a caller with many requests costs the database one query in it. Credentials are kept by their digest. While the database
is away nobody is let in whose time is over: it would be past what was promised of a revocation.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from headrace.auth import Principal, Refused, callbacks, keys, tokens, utc_now
from headrace.auth.store import StoredKey
from headrace.messages.errors import DependencyUnavailable

_MAX_HELD: Final = 10_000
_MAX_CREDENTIAL: Final = 4_096  # characters
_ASK_TIMEOUT_S: Final = 3.0  # senders give up after 5 to 10


class Store(Protocol):
    """The part of ``AuthStore`` that a check needs."""

    async def key(self, key_id: str) -> StoredKey | None: ...

    async def token_revoked(self, jti: str) -> bool: ...


Found = Principal | Refused


class Authenticator:
    """Not for several event loops. ``secrets``, and ``callback_secrets`` where callbacks have their own: newest first."""

    def __init__(
        self,
        store: Store,
        secrets: Sequence[bytes],
        *,
        callback_secrets: Sequence[bytes] = (),
        cache_s: float = 2.0,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._secrets = tuple(secrets)
        self._callback_secrets = (*callback_secrets, *secrets)
        self._cache_s = cache_s
        self._now = now
        self._clock = clock
        self._held: dict[bytes, tuple[float, Found]] = {}  # digest -> (until, what was found); the oldest first
        self._asking: dict[bytes, asyncio.Task[Found]] = {}

    async def principal(self, credential: str) -> Principal:
        """Who ``credential``, an API key or a token, stands for.

        Raises:
            Refused: nobody.
            DependencyUnavailable: the database, which has to be asked, is away.
        """
        if not credential.isascii() or len(credential) > _MAX_CREDENTIAL:
            raise Refused("malformed")
        found = await self._found(credential)
        if isinstance(found, Refused):
            raise Refused(found.reason)
        if found.expires_at is not None and self._now() >= found.expires_at:
            raise Refused("expired")
        return found

    def callback_token(self, tenant: str, wait_id: str) -> str:
        """What lets somebody without a credential report the outcome of this one wait."""
        return callbacks.token(self._callback_secrets[0], tenant, wait_id)

    def opens_callback(self, credential: str, tenant: str, wait_id: str) -> bool:
        """Whether ``credential`` is the callback token of this wait."""
        return callbacks.opens(credential, self._callback_secrets, tenant, wait_id)

    async def _found(self, credential: str) -> Found:
        name = hashlib.sha256(credential.encode()).digest()
        held = self._held.get(name)
        if held is not None and held[0] > self._clock():
            return held[1]
        asking = self._asking.get(name)
        if asking is None:  # requests that arrive together share the answer
            asking = self._asking[name] = asyncio.create_task(self._ask(name, credential), name="auth-check")
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _ask(self, name: bytes, credential: str) -> Found:
        asked_at = self._clock()  # a revocation after this moment may not be in the answer
        try:
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                found: Found = await self._check(credential)
        except Refused as refused:
            found = refused
        except TimeoutError:
            raise DependencyUnavailable("the database did not say in time whether a credential counts") from None
        self._held.pop(name, None)
        if len(self._held) >= _MAX_HELD:
            del self._held[next(iter(self._held))]
        self._held[name] = asked_at + self._cache_s, found
        return found

    async def _check(self, credential: str) -> Principal:
        if credential.startswith(keys.PREFIX):
            return await self._check_key(credential)
        principal = tokens.read(credential, self._secrets, self._now())
        if await self._store.token_revoked(principal.id):
            raise Refused("revoked")
        return principal

    async def _check_key(self, credential: str) -> Principal:
        key_id = keys.key_id_of(credential)
        if key_id is None:
            raise Refused("malformed")
        stored = await self._store.key(key_id)
        if stored is None or not keys.matches(credential, stored.digest, self._secrets):
            raise Refused("unknown")
        if stored.revoked_at is not None:
            raise Refused("revoked")
        return Principal(stored.key_id, stored.tenant, stored.role, stored.expires_at, stored.owners)
