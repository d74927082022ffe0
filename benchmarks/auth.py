"""What the check of a credential adds to a request of the API, in microseconds of wall time; Postgres is a real one.

python -m benchmarks.auth
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

from benchmarks.edges_mesh import prepared
from tests.auth.credentials import SECRET

from headrace.auth import Role, keys, tokens, utc_now
from headrace.auth.authenticator import Authenticator
from headrace.auth.store import AuthStore, StoredKey
from headrace.gateway.access import Guard
from headrace.gateway.settings import GatewaySettings
from headrace.local.stack import Stack
from headrace.postgres.pool import open_pool
from headrace.settings import MeshSettings

HELD, ASKED = 50_000, 2_000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as data:
        stack = Stack(Path(data))
        try:
            with prepared(stack.start()) as mesh:
                asyncio.run(measured(mesh.settings))
        finally:
            stack.stop()


async def measured(settings: MeshSettings) -> None:
    async with open_pool(settings) as pool:
        store, now = AuthStore(pool), utc_now()
        key_id, key = keys.new_key()
        await store.add_key(
            StoredKey(key_id, settings.tenant, "bench", Role.DEVELOPER, keys.digest(key, SECRET), now, None)
        )
        token, _ = tokens.issue(SECRET, tenant=settings.tenant, role=Role.DEVELOPER, subject="bench", now=now)
        own = GatewaySettings(_env_file=None)
        held = Guard(Authenticator(store, (SECRET,), cache_s=3600), settings.tenant, own)
        asked = Guard(Authenticator(store, (SECRET,), cache_s=0), settings.tenant, own)
        print(f"{'off':<30} {await cost(Guard(None, settings.tenant, own), None, HELD):7.2f}")
        for name, credential in (("API key", key), ("token", token)):
            print(f"{name + ', held':<30} {await cost(held, credential, HELD):7.2f}")
            print(f"{name + ', asked of Postgres':<30} {await cost(asked, credential, ASKED):7.2f}")


async def cost(guard: Guard, credential: str | None, requests: int) -> float:
    """Microseconds of one check, the best of five rounds."""
    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"user-agent", b"bench")]
    headers += [(b"authorization", f"Bearer {credential}".encode())] if credential else []
    scope = {"method": "POST", "route": SimpleNamespace(path_format="/v1/runs"), "headers": headers}
    return min([await _round(lambda: guard.check(scope), requests) for _ in range(5)])


async def _round(check: Callable[[], Awaitable[None]], requests: int) -> float:
    started = time.perf_counter()
    for _ in range(requests):
        await check()
    return (time.perf_counter() - started) / requests * 1e6


if __name__ == "__main__":
    main()
