"""``headrace triggers``"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from headrace.cli.output import Exit, note, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.ingest.dry_run import Found, documents, events_of, verdicts
from headrace.messages.agent import AgentDefinition
from headrace.messages.event import Event
from headrace.registry.catalog import catalog_of
from headrace.registry.load import InvalidDefinition, load_file
from headrace.registry.read import read_catalog

app = App(name="triggers", help="Which agents an event would start, tried out.", help_format="markdown")

_NOWHERE = Target()


@app.command(name="test")
def try_out(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    agent: str | None = None,
    definition: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    tenant: str = "default",
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Which agents the events in a file would start, and why the others not. Nothing is sent, claimed or written.

    A file is JSON, or a JSON document a line: canonical events, envelopes, CloudEvents, records as `kcat -J` prints them, or what a
    sender posts: `{"webhook": "github", "headers": {"x-github-event": "push"}, "body": {...}}`. `-` is stdin.
    Exits with 1 if one of them can't be understood, with 4 if there is no such agent.

    Examples: `headrace triggers test event.json`, `headrace triggers test push.json --agent pr-risk-reviewer`,
    `headrace triggers test event.json --definition mine.yaml`

    Parameters
    ----------
    file
        JSON or JSON lines, or - for stdin.
    agent
        Only this agent.
    definition
        Agents of these files, published or not, instead of the live ones; then no mesh is needed.
    tenant
        Tenant of events that name none.
    json
        Print JSON.
    """
    found = _found(file, tenant)
    agents = _agents(definition, target, agent)
    if json:
        print_json([_as_json(one, agents) for one in found])
    else:
        _print(found, agents)
    if any(one.error for one in found):
        raise Exit(1)


def _found(file: Path, tenant: str) -> list[Found]:
    if str(file).startswith("-") and str(file) != "-":
        raise stop(f"unknown option {file}", 2)
    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise stop(f"{file}: {error.strerror}", 2) from None
    now_ms = int(time.time() * 1000)
    return [
        events_of(document, number, tenant=tenant, now_ms=now_ms) for number, document in enumerate(documents(text), 1)
    ]


def _agents(files: Sequence[Path], target: Target, only: str | None) -> list[AgentDefinition]:
    if files:
        try:
            catalog = catalog_of([load_file(file) for file in files])
        except InvalidDefinition as error:
            raise stop(str(error), 1) from None
        except OSError as error:
            raise stop(f"{error.filename}: {error.strerror}", 2) from None
    else:
        catalog = run_async(read_catalog(target.settings()))
    agents = [one for one in catalog.all_live() if only in (None, one.name)]
    if only is not None and not agents:
        raise stop(f"no agent {only} (there are: {', '.join(catalog.names())})", 4)
    return agents


def _print(found: Sequence[Found], agents: Sequence[AgentDefinition]) -> None:
    rows = [
        (_shown(event), verdict.agent.name, "yes" if verdict.fires else "no", verdict.trigger or "-", verdict.why)
        for one in found
        for event in one.events
        for verdict in verdicts(event, agents)
    ]
    print_table(
        ("event", "agent", "starts", "trigger", "why not"), rows, empty="nothing to tell", whole=("agent", "starts")
    )
    for one in found:
        if one.error:
            note(f"document {one.number} would be dead-lettered, {one.error.cause}: {one.error}")


def _shown(event: Event) -> str:
    return f"{event.type} {event.subject}" if event.subject else event.type


def _as_json(one: Found, agents: Sequence[AgentDefinition]) -> dict[str, Any]:
    if one.error:
        error = {"cause": one.error.cause, "where": one.error.where, "message": str(one.error)}
        return {"document": one.number, "error": error}
    return {
        "document": one.number,
        "events": [
            {
                "event": {key: value for key, value in event.plain().items() if key != "data"},
                "agents": [
                    {
                        "agent": verdict.agent.name,
                        "version": verdict.agent.version,
                        "starts": verdict.fires,
                        "trigger": verdict.trigger or None,
                        "why_not": verdict.why or None,
                    }
                    for verdict in verdicts(event, agents)
                ],
            }
            for event in one.events
        ],
    }
