"""``headrace mcp``. The protocol's package takes a second to load: each command loads what it needs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from headrace.cli.output import Exit, note, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async

app = App(
    name="mcp",
    help="MCP: pin the tools of others' servers, and serve this mesh to MCP clients.",
    help_format="markdown",
)

_NOWHERE = Target()


@app.command
def pin(
    servers: Annotated[Path | None, Parameter(allow_leading_hyphen=False)] = None,
    *,
    check: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Ask the servers of the file for the tools that it grants, and write down what they are: only that is used from then on.

    What is new, has changed or is gone is shown, with the servers' descriptions: read them, models will. Run it where the services'
    environment is, since servers are started or called for it; then restart tools and reasoning.

    Examples: `headrace mcp pin mcp.yaml`, `headrace mcp pin --check`

    Parameters
    ----------
    servers
        The file of servers; else HEADRACE_MCP_SERVERS.
    check
        Write nothing; exit with 1 if something is not as it was pinned.
    """
    from headrace.cli.mcp_pins import changes, pinned
    from headrace.mcp.config import load
    from headrace.toolspecs.pinned import BadPins, McpSettings, read_pins

    settings = McpSettings() if servers is None else McpSettings(servers=servers)
    if settings.servers is None or settings.pins_file is None:
        raise stop("name the file of servers, or set HEADRACE_MCP_SERVERS", 2)
    config = load(settings.servers)
    try:
        before = read_pins(settings.pins_file)
        now = run_async(pinned(config))
    except BadPins as error:
        raise stop(str(error), 1) from None
    found = changes(before, now)
    print_table(("tool", "what", "effect", "description"), found, empty="as pinned", whole=("tool", "what"))
    if check:
        raise Exit(1 if found else 0)
    settings.pins_file.write_text(now.model_dump_json(indent=1) + "\n")
    note(f"{len(now.tools)} tools are pinned in {settings.pins_file}")


@app.command(name="list")
def list_(*, json: JsonFlag = False) -> None:
    """The tools that are pinned.

    Example: `headrace mcp list`

    Parameters
    ----------
    json
        Print JSON.
    """
    from headrace.toolspecs.pinned import BadPins, McpSettings, read_pins

    try:
        pins = read_pins(McpSettings().pins_file).tools
    except BadPins as error:
        raise stop(str(error), 1) from None
    if json:
        print_json({name: one.model_dump() for name, one in pins.items()})
        return
    rows = [(name, one.server, one.effect, one.description) for name, one in pins.items()]
    print_table(("tool", "server", "effect", "description"), rows, empty="no tools are pinned", whole=("tool",))


@app.command
def serve(*, allow: Annotated[tuple[str, ...], Parameter(negative=())] = (), target: Target = _NOWHERE) -> None:
    """Serve this mesh over MCP on stdin and stdout, for a client that starts it: agents, runs, and with `--allow` pipelines.

    It works through the gateway, with the credential of HEADRACE_API_KEY if that is set. The gateway itself serves the same,
    but for pipelines, at `POST /mcp`.

    Examples: `headrace mcp serve`, `headrace mcp serve --allow api.example.org`

    Parameters
    ----------
    allow
        Hosts that execute_pipeline may call (`*.example.org` too), each by its own --allow; without any it is not offered.
    """
    from headrace.cli.mcp_serve import serve_stdio

    asyncio.run(serve_stdio(target, allow))
