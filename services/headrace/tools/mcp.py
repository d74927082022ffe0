"""A pinned tool of an MCP server as a tool of the mesh.

Allow-list, argument check, timeout and bound are around it as around any other (``registry``). What it adds: its server must still
describe it as it was when the operator pinned it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from headrace.auth_profiles import AuthProfile, OAuth2ClientCredentials
from headrace.egress.domains import matches
from headrace.egress.urls import parse_url
from headrace.mcp.answers import content_of, words_of
from headrace.mcp.config import McpServer, load
from headrace.mcp.connection import Connection, McpRefused, McpUnavailable
from headrace.messages.base import JsonObject
from headrace.messages.errors import FatalError
from headrace.observe.logging import get_logger
from headrace.tools.api import Tool, ToolContext, ToolFailure, ToolOutput
from headrace.tools.credentials import Proof, standing_proof
from headrace.toolspecs import Spec
from headrace.toolspecs.pinned import BadPins, McpSettings, Pin, read_pins

log = get_logger(__name__)
_SAID: Final = 1_000  # characters of what a server's error says


class McpTool:
    """``secrets`` is struck out of whatever the server answers."""

    def __init__(self, name: str, pin: Pin, connection: Connection, secrets: Proof, timeout_s: float) -> None:
        self._spec = pin.spec(name)
        self._pin = pin
        self._connection = connection
        self._secrets = secrets
        self._timeout_s = timeout_s

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    async def run(self, arguments: JsonObject, context: ToolContext) -> ToolOutput:
        try:
            await self._require_as_pinned()
            result = await self._connection.call(self._pin.tool, arguments, context.idempotency_key)
        except McpUnavailable as error:
            raise ToolFailure("mcp_unavailable", str(error), retryable=True) from None
        except McpRefused as error:
            raise ToolFailure("mcp_error", self._plain(str(error))) from None
        if result.is_error:
            raise ToolFailure("mcp_error", self._plain(words_of(result)[:_SAID]) or "the tool failed")
        return ToolOutput(await asyncio.to_thread(self._without_secrets, content_of(result)))

    async def _require_as_pinned(self) -> None:
        said = (await self._connection.offered()).get(self._pin.tool)
        if said is None or said.digest != self._pin.digest:
            log.warning("mcp_tool_changed", server=self._pin.server, tool=self._spec.name, gone=said is None)
            what = "is gone" if said is None else "has changed"
            raise ToolFailure(
                "tool_changed", f"the tool {self._spec.name} {what}: the operator has to look at it again"
            )

    def _plain(self, text: str) -> str:
        return self._secrets.struck_out(text.encode()).decode(errors="replace")

    def _without_secrets(self, content: Any) -> Any:
        data = orjson.dumps(content)
        struck = self._secrets.struck_out(data)
        return content if struck == data else orjson.loads(struck)


@asynccontextmanager
async def mcp_tools(settings: McpSettings, profiles: Mapping[str, AuthProfile]) -> AsyncIterator[list[Tool]]:
    """The pinned tools of all servers. None is started or connected before its first call. Raises ``FatalError``."""
    servers = load(settings.servers).servers if settings.servers else {}
    try:
        pins = read_pins(settings.pins_file).tools
    except BadPins as error:
        raise FatalError(str(error)) from None
    connections: dict[str, Connection] = {}
    tools: list[Tool] = []
    for name, pin in pins.items():
        server = servers.get(pin.server)
        grant = server.tools.get(pin.tool) if server else None
        if server is None or grant is None or grant.effect != pin.effect:
            log.warning("mcp_tool_not_granted", server=pin.server, tool=name)
            continue
        secrets = secrets_of(pin.server, server, profiles)
        if pin.server not in connections:
            connections[pin.server] = Connection(pin.server, server, secrets.headers)
        tools.append(McpTool(name, pin, connections[pin.server], secrets, server.timeout_s))
    try:
        yield tools
    finally:
        await asyncio.gather(*(connection.close() for connection in connections.values()))


def secrets_of(name: str, server: McpServer, profiles: Mapping[str, AuthProfile]) -> Proof:
    """What the server is given and must not give back. Raises ``FatalError``."""
    given = tuple(value.get_secret_value() for value in server.env.values())
    if server.auth_profile is None:
        return Proof(secrets=given)
    profile = profiles.get(server.auth_profile)
    if profile is None or isinstance(profile, OAuth2ClientCredentials):
        raise FatalError(f"MCP server {name}: there is no auth profile {server.auth_profile} with a secret of its own")
    target = parse_url(server.url or "")
    if profile.hosts and not any(matches(target.host, host) for host in profile.hosts):
        raise FatalError(f"MCP server {name}: the auth profile {server.auth_profile} is not for its host")
    if target.scheme != "https" and not profile.plain_http:
        raise FatalError(f"MCP server {name}: the auth profile {server.auth_profile} is for https only")
    return standing_proof(profile)
