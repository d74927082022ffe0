"""One MCP server while it is in use: started or connected at the first call, kept, and begun anew after it was lost.

The protocol's client must be entered and left by one task, so each connection has a task of its own that does nothing else; calls
come from anywhere. What the server offers is read when it is connected, when it says that it has changed, and after a minute: a
call is made only while its tool is as it was pinned.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TextIO

import httpx2
from mcp.client.stdio import DEFAULT_INHERITED_ENV_VARS, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolResult,
    Implementation,
    ToolListChangedNotification,
)

from headrace import __version__
from headrace.mcp.config import McpServer
from headrace.messages.base import JsonObject
from headrace.messages.errors import HeadraceError
from headrace.observe.logging import get_logger
from headrace.toolspecs.pinned import Said
from mcp import Client, MCPError, StdioServerParameters

log = get_logger(__name__)

IDEMPOTENCY_KEY: Final = "dev.headrace/idempotency-key"
_CONNECT_S: Final = 20.0
_FRESH_S: Final = 60.0
_MAX_TOOLS: Final = 1_000
_BROKEN: Final = frozenset({CONNECTION_CLOSED, REQUEST_TIMEOUT})
_ENV: Final = "/usr/bin/env"


class McpUnavailable(HeadraceError):
    """The server can't be reached, or broke off; trying again may help."""


class McpRefused(HeadraceError):
    """The server refused the call as the protocol has it; the text is the server's."""


class Connection:
    """Safe for many tasks at once. Close it when it is not needed any more."""

    def __init__(self, name: str, server: McpServer, headers: Mapping[str, str]) -> None:
        self._name = name
        self._server = server
        self._headers = headers
        self._lock = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._stop = asyncio.Event()
        self._offered: dict[str, Said] = {}
        self._read_at = -_FRESH_S

    async def offered(self) -> Mapping[str, Said]:
        """The server's tools by their names there. Raises ``McpUnavailable``."""
        async with self._lock:
            client = await self._connected()
            if time.monotonic() - self._read_at >= _FRESH_S:
                self._offered = await self._listed(client)
                self._read_at = time.monotonic()
            return self._offered

    async def call(self, tool: str, arguments: JsonObject, idempotency_key: str) -> CallToolResult:
        """Raises ``McpUnavailable``, ``McpRefused``."""
        async with self._lock:
            client = await self._connected()
        try:
            meta: Any = {IDEMPOTENCY_KEY: idempotency_key}
            return await client.call_tool(tool, arguments, meta=meta)
        except MCPError as error:
            if error.code not in _BROKEN:
                raise McpRefused(str(error)[:400]) from None
        except Exception as error:
            log.warning("mcp_call_failed", server=self._name, error_type=type(error).__name__)
        await self.close()
        raise self._lost()

    async def close(self) -> None:
        """Ends the connection, and the server if it was started here."""
        keeper, client, self._keeper, self._client = self._keeper, self._client, None, None
        self._read_at = -_FRESH_S
        if keeper is None:
            return
        self._stop.set()
        if client is None:  # it never came to wait for the stop
            keeper.cancel()
        _, pending = await asyncio.wait({keeper}, timeout=_CONNECT_S)
        for task in pending:
            task.cancel()

    async def _connected(self) -> Client:
        if self._client is not None and self._keeper is not None and not self._keeper.done():
            return self._client
        await self.close()
        self._stop = asyncio.Event()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(ready, self._stop), name=f"mcp-{self._name}")
        try:
            self._client = await asyncio.wait_for(ready, _CONNECT_S)
        except Exception:
            await self.close()
            raise self._lost() from None
        return self._client

    async def _keep(self, ready: asyncio.Future[Client], stop: asyncio.Event) -> None:
        try:
            async with self._transport() as transport, self._made(transport) as client:
                ready.set_result(client)
                await stop.wait()
        except Exception:
            if not ready.done():
                ready.set_exception(self._lost())

    def _made(self, transport: Any) -> Client:
        return Client(
            transport,
            cache=None,
            read_timeout_seconds=self._server.timeout_s,
            client_info=Implementation(name="headrace", version=__version__),
            message_handler=self._told,
        )

    async def _told(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._read_at = -_FRESH_S

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        if self._server.url is None:
            with _nowhere() as nowhere:
                yield _stdio(self._server, nowhere)
            return
        timeout = httpx2.Timeout(self._server.timeout_s, connect=_CONNECT_S)
        async with httpx2.AsyncClient(headers=dict(self._headers), timeout=timeout, trust_env=False) as client:
            yield streamable_http_client(self._server.url, http_client=client)

    async def _listed(self, client: Client) -> dict[str, Said]:
        found: dict[str, Said] = {}
        cursor: str | None = None
        try:
            while len(found) < _MAX_TOOLS:
                page = await client.list_tools(cursor=cursor)
                found |= {t.name: Said(t.name, t.description or "", t.input_schema) for t in page.tools}
                if (cursor := page.next_cursor) is None:
                    break
        except Exception:
            await self.close()
            raise self._lost() from None
        return found

    def _lost(self) -> McpUnavailable:
        return McpUnavailable(f"the MCP server {self._name} can't be used now")


def _nowhere() -> TextIO:
    """Where a server's stderr goes: what it prints may hold what it was told."""
    return open(os.devnull, "w")


def _stdio(server: McpServer, errors: TextIO) -> Any:
    """The command with the environment that is declared for it and nothing else.

    The protocol's package adds some of ours (PATH, HOME, ...) to what it is given; ``env -u`` takes them out again, by name, so
    that no value is on a command line.
    """
    command = shutil.which(server.command[0]) or server.command[0]
    removed = [option for name in DEFAULT_INHERITED_ENV_VARS if name not in server.env for option in ("-u", name)]
    values = {name: value.get_secret_value() for name, value in server.env.items()}
    parameters = StdioServerParameters(
        command=_ENV, args=[*removed, command, *server.command[1:]], env=values, cwd=server.cwd
    )
    return stdio_client(parameters, errors)
