"""``headrace workflows``: all of it through the gateway's API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from headrace.cli import workflow_runs
from headrace.cli.output import note, print_json, print_table
from headrace.cli.target import JsonFlag, Target
from headrace.cli.workflow_api import call, changed, get, part, read, value_of

app = App(
    name="workflows", help="Workflows: graphs of agents, tools and waits, and their runs.", help_format="markdown"
)
app.command(workflow_runs.app)

_NOWHERE: Final = Target()
_COLUMNS: Final = ("version", "kind", "base_version", "patch_id", "author", "created_at", "description")
Owner = Annotated[str, Parameter(env_var="HEADRACE_WORKFLOW_OWNER")]


@app.command(name="list")
def list_(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The workflows, with the version of each that is live.

    Example: `headrace workflows list`

    Parameters
    ----------
    json
        Print JSON.
    """
    found = call(target, "GET", "/workflows")["workflows"]
    if json:
        print_json(found)
        return
    rows = [(w["tag"], w["version"], w["owner"], w["definition_hash"], w["created_at"]) for w in found]
    columns = ("workflow", "live", "owner", "hash", "since")
    print_table(columns, rows, empty="no workflows: `headrace workflows create FILE` stores one", whole=columns[:2])


@app.command
def show(tag: str, *, version: int | None = None, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One definition, as YAML, and on stderr when it is due next. Exits with 4 if there is no such workflow or version.

    Example: `headrace workflows show main --version 2`

    Parameters
    ----------
    tag
        Tag of the workflow.
    version
        Another version than the live one.
    json
        Print JSON, with how the version came to be.
    """
    found = get(target, tag, version)
    if json:
        print_json(found)
        return
    import yaml

    print(yaml.safe_dump(found["definition"], sort_keys=False, allow_unicode=True, width=120), end="")
    if found["next_times"]:
        note(f"due next: {', '.join(found['next_times'])}")


@app.command
def create(file: Path, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Check a definition and store it as version 1.

    Example: `headrace workflows create docs/examples/workflows/price-watch.yaml`

    Parameters
    ----------
    file
        YAML or JSON.
    json
        Print JSON.
    """
    changed(call(target, "POST", "/workflows", read(file)), json)


@app.command
def patch(
    tag: str,
    file: Path,
    *,
    owner: Owner,
    base_version: int | None = None,
    description: str = "",
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Change a workflow by JSON Patch (add, remove, replace): all operations or none. It makes a new version.

    Example: `headrace workflows patch main patch.json --owner me --description "mail when cheap"`

    Parameters
    ----------
    tag
        Tag of the workflow.
    file
        A list of operations, or an object with `operations` and `description`; YAML or JSON.
    owner
        Who asks: only the owner may. Also HEADRACE_WORKFLOW_OWNER.
    base_version
        The version that the patch was made for; by default the live one.
    description
        What it is for.
    json
        Print JSON.
    """
    given = read(file)
    spec = given if isinstance(given, dict) else {"operations": given}
    base = base_version or get(target, tag, None)["version"]
    body = {
        "workflow_owner": owner,
        "base_version": base,
        "operations": spec.get("operations"),
        "description": description or spec.get("description", ""),
    }
    changed(call(target, "POST", f"/workflows/{part(tag)}:patch", body), json)


@app.command
def rollback(tag: str, version: int, *, owner: Owner, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Make the content of an old version live again, as a new version. Runs in flight keep theirs.

    Example: `headrace workflows rollback main 3 --owner me`

    Parameters
    ----------
    tag
        Tag of the workflow.
    version
        Which version.
    owner
        Who asks: only the owner may. Also HEADRACE_WORKFLOW_OWNER.
    json
        Print JSON.
    """
    body = {"workflow_owner": owner, "base_version": get(target, tag, None)["version"], "version": version}
    changed(call(target, "POST", f"/workflows/{part(tag)}:rollback", body), json)


@app.command
def history(tag: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The versions of a workflow, the newest first. Exits with 4 if there is no such workflow.

    Example: `headrace workflows history main --json`

    Parameters
    ----------
    tag
        Tag of the workflow.
    json
        Print JSON, with the operations of each patch.
    """
    versions = call(target, "GET", f"/workflows/{part(tag)}/history")["versions"]
    if json:
        print_json(versions)
        return
    rows = [tuple(version[name] for name in _COLUMNS) for version in versions]
    print_table(_COLUMNS, rows, whole=("version", "patch_id"), spare=("created_at", "author"))


@app.command
def graph(
    tag: str,
    *,
    format: Literal["mermaid", "svg"] = "mermaid",
    version: int | None = None,
    target: Target = _NOWHERE,
) -> None:
    """A workflow as a picture, on standard output.

    Example: `headrace workflows graph main --format svg > main.svg`

    Parameters
    ----------
    tag
        Tag of the workflow.
    format
        mermaid (text for Markdown) or svg.
    version
        Another version than the live one.
    """
    from headrace.workflows.definition import WorkflowDefinition
    from headrace.workflows.drawing import mermaid, svg

    definition = WorkflowDefinition.checked(get(target, tag, version)["definition"])
    print((svg if format == "svg" else mermaid)(definition), end="")


@app.command
def run(
    tag: str,
    *,
    input: str = "null",
    version: int | None = None,
    key: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Start a run, and print its id.

    Example: `headrace workflows run main --input '{"city": "NYC"}'`

    Parameters
    ----------
    tag
        Tag of the workflow.
    input
        Its input, as JSON.
    version
        Another version than the live one.
    key
        Idempotency key: the same key is the same run.
    json
        Print JSON.
    """
    body = {"input": value_of("--input", input), "version": version, "idempotency_key": key}
    started = call(target, "POST", f"/workflows/{part(tag)}:run", body)
    if json:
        print_json(started)
    else:
        print(started["run_id"])
        note(f"version {started['version']}; `headrace workflows runs show {started['run_id']}` shows it")
