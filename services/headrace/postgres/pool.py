"""The connection pool. One per process; adapters get it handed in and never make their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from headrace.messages.errors import FatalError
from headrace.postgres.errors import translated
from headrace.postgres.json import decode_jsonb, encode_jsonb
from headrace.settings import MeshSettings

CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 60.0  # no statement of ours takes this long; a server that hangs must not hold us
CLOSE_TIMEOUT_S: Final = 5.0


@asynccontextmanager
async def open_pool(
    settings: MeshSettings, *, min_size: int = 1, max_size: int = 8, service: str = "headrace"
) -> AsyncIterator[asyncpg.Pool]:
    """A pool on ``settings.database_url``, closed on exit. ``jsonb`` values are Python values on both sides.

    Connections that broke are replaced on their next use, so the pool outlives a restart of the server.

    Raises:
        DependencyUnavailable: no server answers.
        FatalError: the server refuses this user or database, or the URL is not one.
    """
    with translated():
        pool = await _create(settings, min_size, max_size, service)
    try:
        yield pool
    finally:
        await _close(pool)


async def _create(settings: MeshSettings, min_size: int, max_size: int, service: str) -> asyncpg.Pool:
    try:
        return await asyncpg.create_pool(
            settings.database_url.get_secret_value(),
            min_size=min_size,
            max_size=max_size,
            init=_init,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={"application_name": service, "jit": "off", "timezone": "UTC"},
        )
    except ValueError:  # includes asyncpg's ClientConfigurationError; the text may quote the URL and so the password
        raise FatalError("DATABASE_URL is not a valid Postgres URL") from None


async def _init(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=encode_jsonb, decoder=decode_jsonb
    )


async def _close(pool: asyncpg.Pool) -> None:
    """Wait for connections in use, but not for ever: a server that is away never says goodbye."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await pool.close()
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pool.terminate()
