"""The tree of commands, and what an error becomes on the way out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App

from headrace import __version__
from headrace.cli.output import Exit, fail, quiet_logs
from headrace.local.endpoints import VARIABLES
from headrace.local.errors import NotRunning, StackError, Unreachable
from headrace.messages.errors import DependencyUnavailable, HeadraceError

# Each command is imported when it is used, so the list of all repeats their first lines. A test holds them together.
VERBS: Final = {
    "demo": "Start a mesh, send it signed webhooks and events of many kinds, and show what the agents made of them.",
    "up": "Start the whole mesh on this machine: Kafka, schema registry, Postgres, and every service. No Docker needed.",
    "down": "Stop the mesh of a data directory: services drain, then the servers end. The data stays.",
    "status": "Each server and service: state, lag, rate, in flight, restarts.",
    "agent": "Ask the assistant one thing, and print its answer.",
    "usage": "Runs, errors, tokens, cost and latency by agent.",
    "prepare": "Make everything that services need before they start: topics, schemas, tables, and the built-in agents.",
    "run": "Run any set of services in this process, until SIGTERM or Ctrl-C. In production: one process each.",
}
GROUPS: Final = {
    "events": "Send events into the mesh.",
    "webhooks": "Senders of webhooks: which there are, trying one, repeating deliveries.",
    "sessions": "Sessions: conversations that go on from run to run.",
    "runs": "Agent runs: those of the index, following one, ending, forking and repeating them.",
    "approvals": "Calls that wait for somebody's yes.",
    "results": "Results of agent runs, straight from the topic.",
    "agents": "Agents as data: the catalogue of published definitions.",
    "tools": "Composite tools: pipelines that are used again and again, known by a name.",
    "mcp": "MCP: pin the tools of others' servers, and serve this mesh to MCP clients.",
    "budgets": "What model calls may use: tokens and money, by tenant, agent, session or run.",
    "triggers": "Which agents an event would start, tried out.",
    "workflows": "Workflows: graphs of agents, tools and waits, and their runs.",
    "auth": "Credentials of the API: keys and tokens.",
    "audit": "The audit log: is it whole, and what it says.",
    "dlq": "Dead letters: what a service could not work on, with its cause.",
    "replay": "Make again what records led to.",
    "topics": "The mesh's topics, as topics/*.yaml declares them.",
    "schemas": "The contracts: JSON Schema and Avro of every message.",
}


def commands(argv: Sequence[str]) -> App:
    """All commands. The one that ``argv`` calls has its own, full help; the others only their first line."""
    app = App(
        name="headrace",
        version=__version__,
        help="The event-streaming mesh for AI agents on Kafka and Redpanda.\n\nExample: `headrace demo`, "
        "or `headrace up --detach`, then `headrace status`. Each command has `--help` with an example.",
        help_format="markdown",
    )
    called = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in VERBS.items():
        app.command(f"headrace.cli.{name}:{name}", name=name, help=None if name == called else summary)
    for name, summary in GROUPS.items():
        app.command(f"headrace.cli.{name}:app", name=name, help=summary)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run a command; its exit code."""
    quiet_logs()
    try:
        try:
            return _call(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered goes nowhere, or Python complains about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _call(argv: Sequence[str]) -> int:
    try:
        code: Any = commands(argv)(argv, result_action="return_value", exit_on_error=False, print_error=True)
    except Exit as stop:
        return stop.code
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich turns it into this
            raise BrokenPipeError from None
        raise
    except Exception as error:
        if type(error).__module__.startswith("cyclopts"):
            return 2  # printed already
        return told(error)
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


def told(error: Exception) -> int:
    """Say on stderr what is wrong; the exit code. An error that nobody expected is raised again."""
    if isinstance(error, NotRunning):
        return fail(f"{error}: start it with `headrace up`, or set {', '.join(VARIABLES.values())}", 3)
    if isinstance(error, DependencyUnavailable | Unreachable):
        return fail(str(error), 3)
    if isinstance(error, StackError | HeadraceError):
        return fail(str(error), 1)
    from headrace.settings import SettingsProblem, problems  # pydantic: most commands never need it

    if isinstance(error, SettingsProblem):
        return fail(f"bad settings: {problems(error)}", 2)
    raise error
