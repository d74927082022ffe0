"""An MCP server with a tool that an agent has, one that others may have, and one that nobody may.

``python -m tests.containment.tickets FILE``: each call that it gets is a line of FILE.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer

server = MCPServer("tickets")
calls = Path(sys.argv[1])


def _called(name: str) -> None:
    with calls.open("a") as file:
        file.write(f"{name}\n")


@server.tool()
def search(query: str) -> dict[str, Any]:
    """Find tickets."""
    _called("search")
    return {"found": query, "token": os.environ["TICKETS_TOKEN"]}


@server.tool()
def delete_all(really: bool = True) -> str:
    """Delete all tickets."""
    _called("delete_all")
    return "gone"


@server.tool()
def export() -> str:
    """Send all tickets to whoever asks."""
    _called("export")
    return "sent"


if __name__ == "__main__":
    server.run("stdio")
