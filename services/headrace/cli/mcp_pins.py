"""What the servers of the operator's file offer now, as pins, and how that differs from the pins that there are."""

from __future__ import annotations

import asyncio

from headrace.auth_profiles import AuthProfiles
from headrace.mcp.config import McpConfig, McpServer
from headrace.mcp.connection import Connection, McpUnavailable
from headrace.messages.errors import DependencyUnavailable
from headrace.registry.schemas import InvalidSchema, compile_schema
from headrace.tools.mcp import secrets_of
from headrace.toolspecs.pinned import BadPins, Pin, Pins, pin, pinned_name

Row = tuple[str, str, str, str]


async def pinned(config: McpConfig) -> Pins:
    """Raises ``DependencyUnavailable`` for a server that can't be used, ``BadPins`` for a tool that can't."""
    profiles = AuthProfiles().auth_profiles
    names = list(config.servers)
    found = await asyncio.gather(
        *(
            _of_server(name, server, Connection(name, server, secrets_of(name, server, profiles).headers))
            for name, server in config.servers.items()
        )
    )
    tools: dict[str, Pin] = {}
    for name, pins in zip(names, found, strict=True):
        for one in pins:
            key = pinned_name(name, one.tool)
            if key in tools:
                raise BadPins(f"two tools would be called {key}")
            tools[key] = one
    return Pins(tools=dict(sorted(tools.items())))


async def _of_server(name: str, server: McpServer, connection: Connection) -> list[Pin]:
    try:
        offered = await connection.offered()
    except McpUnavailable as error:
        raise DependencyUnavailable(str(error)) from None
    finally:
        await connection.close()
    pins = []
    for tool, grant in server.tools.items():
        if tool not in offered:
            raise BadPins(f"the server {name} has no tool {tool}; it has {', '.join(sorted(offered))[:500]}")
        try:
            compile_schema(offered[tool].parameters)
        except InvalidSchema as error:
            raise BadPins(f"{name}, {tool}: its schema can't be used: {error}") from None
        pins.append(pin(name, grant.effect, offered[tool]))
    return pins


def changes(before: Pins, now: Pins) -> list[Row]:
    """A row for each tool that is not as it was."""
    rows: list[Row] = []
    for name, one in now.tools.items():
        old = before.tools.get(name)
        if old != one:
            rows.append((name, "new" if old is None else "changed", one.effect, one.description))
    return rows + [
        (name, "gone", old.effect, old.description) for name, old in before.tools.items() if name not in now.tools
    ]
