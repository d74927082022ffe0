"""The connection pool. One per process; adapters get it handed in and never make their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

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
    settings: MeshSettings,
    *,
    min_size: int = 0,
    max_size: int = 8,
    service: str = "headrace",
    search_path: str | None = None,
) -> AsyncIterator[asyncpg.Pool]:
    """A pool on ``settings.database_url``, closed on exit. ``jsonb`` values are Python values on both sides.

    Connections are made when they are needed, and those that broke are replaced, so a service may start before its server and
    outlives a restart of it. With ``min_size`` one is made at once. ``search_path``: schemas in place of the role's own.

    Raises:
        FatalError: the URL is not one. With ``min_size`` also: the server refuses this user or database (else the first use does).
        DependencyUnavailable: with ``min_size``: no server answers (else the first use does).
    """
    _check_url(settings.database_url.get_secret_value())
    with translated():
        pool = await _create(settings, min_size, max_size, service, search_path)
    try:
        yield pool
    finally:
        await _close(pool)


async def _create(
    settings: MeshSettings, min_size: int, max_size: int, service: str, search_path: str | None
) -> asyncpg.Pool:
    path = {} if search_path is None else {"search_path": search_path}
    return await asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=min_size,
        max_size=max_size,
        init=_init,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={"application_name": service, "jit": "off", "timezone": "UTC", **path},
    )


def _check_url(url: str) -> None:
    """A URL that can't be right is refused at once. Never quoted: it has a password."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("postgres", "postgresql") and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right:
        raise FatalError("DATABASE_URL is not a valid Postgres URL")


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
