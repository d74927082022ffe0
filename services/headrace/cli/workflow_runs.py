"""``headrace workflows runs``"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.cli.output import print_facts, print_json, print_table
from headrace.cli.target import JsonFlag, Target
from headrace.cli.workflow_api import call, part, value_of

app = App(name="runs", help="Runs of workflows: list, show, pause, resume, cancel, signal.", help_format="markdown")

_NOWHERE = Target()


@app.command(name="list")
def list_(
    *,
    tag: str | None = None,
    status: Literal["running", "paused", "compensating", "completed", "failed", "cancelled"] | None = None,
    limit: Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1, lte=200))] = 50,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Runs, newest first.

    Example: `headrace workflows runs list --tag main --status failed`

    Parameters
    ----------
    tag
        Only of this workflow.
    status
        Only in this status.
    limit
        At most so many, up to 200.
    json
        Print JSON.
    """
    wanted = {"tag": tag, "status": status, "limit": limit}
    params = urlencode({name: value for name, value in wanted.items() if value is not None})
    runs = call(target, "GET", f"/workflow-runs?{params}")["runs"]
    if json:
        print_json(runs)
        return
    columns = ("run_id", "status", "tag", "version", "trigger", "started_at", "ended_at")
    rows = [tuple(one[name] for name in columns) for one in runs]
    print_table(columns, rows, empty="no runs", whole=columns[:2], spare=("ended_at", "trigger"))


@app.command(name="show")
def show(run: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One run with its nodes. Exits with 4 if there is no such run.

    Example: `headrace workflows runs show 3f0c… --json`

    Parameters
    ----------
    run
        Run id.
    json
        Print JSON, with input and outputs.
    """
    found = call(target, "GET", f"/workflow-runs/{part(run)}")
    if json:
        print_json(found)
        return
    nodes = found.pop("nodes")
    print_facts((name, value) for name, value in found.items() if value is not None)
    print()
    rows = [(name, node["status"], len(node["work"]), _error(node["error"])) for name, node in nodes.items()]
    print_table(("node", "status", "work", "error"), rows, whole=("node", "status"))


@app.command
def pause(run: str, *, target: Target = _NOWHERE) -> None:
    """Start nothing new in a run; what is under way goes on.

    Example: `headrace workflows runs pause 3f0c…`

    Parameters
    ----------
    run
        Run id.
    """
    call(target, "POST", f"/workflow-runs/{part(run)}:pause")


@app.command
def resume(run: str, *, target: Target = _NOWHERE) -> None:
    """Go on with a paused run.

    Example: `headrace workflows runs resume 3f0c…`

    Parameters
    ----------
    run
        Run id.
    """
    call(target, "POST", f"/workflow-runs/{part(run)}:resume")


@app.command
def cancel(run: str, *, target: Target = _NOWHERE) -> None:
    """End a run: what is under way is stopped, and what had completed is undone where its node says how.

    Example: `headrace workflows runs cancel 3f0c…`

    Parameters
    ----------
    run
        Run id.
    """
    call(target, "POST", f"/workflow-runs/{part(run)}:cancel")


@app.command
def signal(run: str, name: str, *, payload: str = "null", target: Target = _NOWHERE) -> None:
    """Send a signal to a node that waits for it.

    Example: `headrace workflows runs signal 3f0c… approved --payload '{"by": "me"}'`

    Parameters
    ----------
    run
        Run id.
    name
        Name of the signal.
    payload
        What the node's output is to be, as JSON.
    """
    body = {"payload": value_of("--payload", payload)}
    call(target, "POST", f"/workflow-runs/{part(run)}/signals/{part(name)}", body)


def _error(error: dict[str, Any] | None) -> str:
    return f"{error['type']}: {error.get('message', '')}".rstrip(": ") if error else "-"
