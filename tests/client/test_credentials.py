"""Both clients show the gateway who they are, by argument or by ``HEADRACE_API_KEY``, on a gateway that asks."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from headrace.auth import Role
from headrace.auth.store import AuthStore
from headrace.client import AsyncClient, Client, NotAllowed
from tests.auth.credentials import Issuer
from tests.gateway.support import Gateway, served
from tests.postgres.database import empty_pool, pool

__all__ = ["empty_pool", "pool"]


async def test_a_credential_is_an_argument_or_in_the_environment(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(AuthStore(pool))
    key = await issuer.key(Role.VIEWER)
    async with served(Gateway(authenticator=issuer.authenticator)) as server:

        async def asynchronous(token: str | None) -> int:
            async with AsyncClient(server.url, token=token) as client:
                return len((await client.page()).runs)

        def blocking(token: str | None) -> int:
            with Client(server.url, token=token) as client:
                return len(client.page().runs)

        async def both(token: str | None) -> list[int]:
            return [await asynchronous(token), await asyncio.to_thread(blocking, token)]

        monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
        for of_one in (asynchronous(None), asyncio.to_thread(blocking, None)):
            with pytest.raises(NotAllowed):
                await of_one
        assert await both(key) == [0, 0]
        monkeypatch.setenv("HEADRACE_API_KEY", f"{key}\n")
        assert await both(None) == [0, 0]
        with pytest.raises(NotAllowed):
            await asynchronous("another")


@pytest.mark.parametrize("token", ["kéy", "a\nb: c"])
def test_what_can_be_no_credential_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="no API key") as refusal:
        Client("http://127.0.0.1:1", token=token)
    assert token not in str(refusal.value)
