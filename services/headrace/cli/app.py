"""The tree of commands, and what an error becomes on the way out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from cyclopts import App
from pydantic import ValidationError

from headrace import __version__
from headrace.cli.output import Exit, fail
from headrace.local.endpoints import VARIABLES
from headrace.local.errors import NotRunning, StackError
from headrace.messages.errors import DependencyUnavailable, HeadraceError

app = App(
    name="headrace",
    version=__version__,
    help="The event-streaming mesh for AI agents on Kafka and Redpanda.",
    help_format="markdown",
)

# Imported when used; so the help of each is repeated here. A test holds it against the command's own.
_VERBS = {
    "demo": "Start a mesh, send it signed webhooks and events of many kinds, and show what the agents made of them.",
    "up": "Start the whole mesh on this machine: Kafka, schema registry, Postgres, and every service. No Docker needed.",
    "down": "Stop the mesh of a data directory: services drain, then the servers end. The data stays.",
    "status": "Each server and service: state, lag, rate, in flight, restarts.",
    "usage": "Runs, errors, tokens, cost and latency by agent.",
    "prepare": "Make everything that services need before they start: topics, schemas, tables, and the built-in agents.",
    "run": "Run any set of services in this process, until SIGTERM or Ctrl-C. In production: one process each.",
}
_GROUPS = {
    "events": "Send events into the mesh.",
    "runs": "Agent runs, from the index.",
    "results": "Results of agent runs, straight from the topic.",
    "agents": "Agents as data: the catalogue of published definitions.",
    "audit": "The audit log: is it whole, and what it says.",
    "dlq": "Dead letters: what a service could not work on, with its cause.",
    "replay": "Make again what records led to.",
    "topics": "The mesh's topics, as topics/*.yaml declares them.",
    "schemas": "The contracts: JSON Schema and Avro of every message.",
}

for _name, _help in _VERBS.items():
    app.command(f"headrace.cli.{_name}:{_name}", name=_name, help=_help)
for _name, _help in _GROUPS.items():
    app.command(f"headrace.cli.{_name}:app", name=_name, help=_help)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    try:
        code: Any = app(argv, result_action="return_value", exit_on_error=False, print_error=True)
    except Exit as stop:
        return stop.code
    except NotRunning as error:
        return fail(f"{error}: start it with `headrace up`, or set {', '.join(VARIABLES.values())}", 3)
    except DependencyUnavailable as error:
        return fail(str(error), 3)
    except (StackError, HeadraceError) as error:
        return fail(str(error), 1)
    except ValidationError as error:
        return fail(f"bad settings: {error}", 2)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if type(error).__module__.startswith("cyclopts"):
            return 2  # printed already
        raise
    return code if isinstance(code, int) and not isinstance(code, bool) else 0
