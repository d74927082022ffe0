"""``headrace dlq``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from headrace.cli.output import print_facts, print_json, print_table, stop
from headrace.cli.replay_detached import detach as detached
from headrace.cli.tables import printable
from headrace.cli.target import JsonFlag, Target
from headrace.cli.who import who
from headrace.messages import strict_json
from headrace.pipeline import PIPELINE
from headrace.replay.redrive_edit import CantEdit, read_edit
from headrace.runtime.deadletters import DeadLetters, Entry, UnknownEntry

app = App(name="dlq", help="Dead letters: what a service could not work on, with its cause.", help_format="markdown")

_NOWHERE = Target()
_SERVICES = tuple(stage.service for stage in PIPELINE if stage.consumes)
_SHOWN = 2_000  # characters of a value, on a terminal


@app.command(name="list")
def list_(
    service: str | None = None,
    *,
    all: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Dead letters of one service, or of all, oldest first.

    Example: `headrace dlq list ingest`

    Parameters
    ----------
    service
        ingest, reasoning, tools, orchestration or persistence.
    all
        Also those that were redriven already.
    json
        Print JSON.
    """
    services = [_known(service)] if service else _SERVICES
    settings = target.settings()
    entries = [
        (name, entry) for name in services for entry in DeadLetters(settings, name).entries(include_redriven=all)
    ]
    if json:
        print_json([{"service": name, **_facts(entry)} for name, entry in entries])
        return
    columns = ("service", "id", "cause", "source", "attempts", "redrives", "failed at", "error")
    rows = [
        (name, e.id, e.cause, f"{e.topic}/{e.partition}/{e.offset}", e.attempts, e.redrives, e.failed_at, e.error)
        for name, e in entries
    ]
    print_table(
        columns,
        rows,
        empty="no dead letters",
        whole=("id", "cause"),
        spare=("redrives", "attempts", "failed at", "source"),
    )


@app.command
def show(service: str, entry: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One dead letter with its headers and the beginning of its value. Exits with 4 if there is none of that id.

    Example: `headrace dlq show ingest 0/12`

    Parameters
    ----------
    service
        Whose dead letter.
    entry
        Its id, as `dlq list` shows it.
    json
        Print JSON, with the whole value as text.
    """
    _known(service)
    try:
        found = DeadLetters(target.settings(), service).entry(entry)
    except UnknownEntry as error:
        raise stop(str(error), 4) from None
    text = (found.value or b"").decode("utf-8", "replace")
    facts = _facts(found) | {
        "headers": {name: (value or b"").decode("utf-8", "replace") for name, value in found.headers}
    }
    if json:
        print_json(facts | {"value": text})
        return
    print_facts((name, value) for name, value in facts.items() if value not in (None, ""))
    if len(text) > _SHOWN and sys.stdout.isatty():
        text = text[:_SHOWN] + f"… ({len(text) - _SHOWN} more characters: a pipe or --json shows them)"
    print("\n" + printable(text))


@app.command
def redrive(
    service: str,
    *entries: str,
    all: Annotated[bool, Parameter(negative=())] = False,
    edit: Path | None = None,
    detach: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Send dead letters back to the topic that they came from, each once, as they are or edited.

    Dead letters of other services stay where they are. Exits with 2 if the edit does not fit one of them; none is sent back then.

    Example: `headrace dlq redrive reasoning --all --dry-run`

    Parameters
    ----------
    service
        Whose dead letters.
    entries
        Their ids.
    all
        All that were not redriven yet.
    edit
        A file with a JSON Patch (`[{"op": "replace", "path": "/agent", "value": "assistant"}]`), or with the JSON value that takes
        the place of each record's own. The record says that it was edited.
    detach
        Hand it to the service `replay`, and return: `headrace replay watch NAME` shows it.
    dry_run
        Only show which would go.
    json
        Print JSON.
    """
    if bool(entries) == all:
        raise stop("name the entries, or give --all", 2)
    _known(service)
    try:
        change = read_edit(edit) if edit else None
        if detach:
            content = strict_json.loads(edit.read_bytes()) if edit else None
            which = {"service": service, "entries": list(entries) or None, "edit": content}
            detached(target, "redrive", json=json, dry_run=dry_run, confirm=not dry_run, **which)
            return
        box = DeadLetters(target.settings(), service)
        sent = box.redrive(None if all else entries, dry_run=dry_run, edit=change, by=who())
    except UnknownEntry as error:
        raise stop(f"{error}; nothing is sent back", 4) from None
    except CantEdit as error:
        raise stop(f"{error}; nothing is sent back", 2) from None
    if json:
        print_json([_facts(entry) for entry in sent])
        return
    title = "would go back to" if dry_run else "went back to"
    print_table(["id", title, "cause"], [(e.id, e.topic, e.cause) for e in sent], empty="nothing to redrive")


def _known(service: str) -> str:
    if service not in _SERVICES:
        raise stop(f"no dead letters of {service!r}: choose from {', '.join(_SERVICES)}", 2)
    return service


def _facts(entry: Entry) -> dict[str, Any]:
    names = (
        "id",
        "topic",
        "partition",
        "offset",
        "cause",
        "error",
        "where",
        "attempts",
        "failed_at",
        "redrives",
        "redriven",
        "edited",
    )
    return {name: getattr(entry, name) for name in names} | {"key": (entry.key or b"").decode("utf-8", "replace")}
