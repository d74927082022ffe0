"""``headrace agents``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from headrace.cli.agents_promote import canary_text, promote, rollback, standing
from headrace.cli.definition_yaml import as_yaml
from headrace.cli.output import note, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.registry.load import InvalidDefinition, load_file
from headrace.registry.publish import publish as publish_definitions
from headrace.registry.read import read_catalog
from headrace.registry.runtimes import RUNTIMES

app = App(name="agents", help="Agents as data: the catalogue of published definitions.", help_format="markdown")

_NOWHERE = Target()
app.command(promote)
app.command(rollback)


@app.command(name="list")
def list_(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The live agents, and the canary of those that have one.

    Example: `headrace agents list`

    Parameters
    ----------
    json
        Print JSON.
    """
    catalog = run_async(read_catalog(target.settings()))
    live = catalog.all_live()
    pointers = {agent.name: catalog.pointer(agent.name) for agent in live}
    if json:
        print_json([agent.plain() | {"canary": _canary(pointers[agent.name])} for agent in live])
        return
    columns = ("agent", "live", "canary", "category", "model", "triggers", "versions", "description")
    rows = [
        (
            *(a.name, a.version, canary_text(pointers[a.name]), a.category, a.model),
            *(_triggers(a), ", ".join(catalog.versions(a.name)), a.description),
        )
        for a in live
    ]
    print_table(
        columns,
        rows,
        empty="no agents are published: `headrace prepare` publishes the built-in ones",
        whole=("agent", "live"),
        spare=("versions", "triggers", "model"),
    )


def _canary(pointer: AgentRecord | None) -> dict[str, Any] | None:
    return pointer.canary.plain() if pointer and pointer.canary else None


def _triggers(agent: AgentDefinition) -> str:
    return ", ".join(trigger.type for trigger in agent.triggers) or "-"


@app.command
def show(name: str, *, version: str | None = None, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One definition, as YAML that can be changed and published. Exits with 4 if there is no such agent or version.

    Example: `headrace agents show pr-risk-reviewer > mine.yaml`

    Parameters
    ----------
    name
        Name of the agent.
    version
        Another version than the live one.
    json
        Print JSON instead of YAML.
    """
    catalog = run_async(read_catalog(target.settings()))
    found = catalog.get(name, version) if version else catalog.live(name)
    if found is None:
        known = ", ".join(catalog.versions(name) if version else catalog.names())
        raise stop(f"no {'version ' + version + ' of ' if version else ''}agent {name} (there are: {known})", 4)
    if json:
        print_json(found)
    else:
        print(as_yaml(found), end="")
        for text in RUNTIMES[found.runtime].lacks:
            note(f"runtime {found.runtime}: {text}")
    note(standing(catalog.pointer(name)))


@app.command
def publish(
    *files: Path,
    not_live: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Check definitions and publish them: all or none. The version published becomes the live one; runs in flight keep theirs.

    A version is immutable: publishing other content under the same version is refused. An older version is made live again by
    `headrace agents rollback`, by `headrace agents promote`, or by publishing its file again.

    Example: `headrace agents publish agents/*.yaml --dry-run`

    Parameters
    ----------
    files
        YAML or JSON files, one definition each.
    not_live
        Leave what is live as it is: for a shadow, or a canary (`headrace agents promote NAME VERSION --canary 5`).
    dry_run
        Check and say what would be published.
    json
        Print JSON.
    """
    if not files:
        raise stop("which files? One or more YAML or JSON files, for example agents/*.yaml", 2)
    definitions, problems = [], []
    for file in files:
        try:
            definitions.append(load_file(file))
        except InvalidDefinition as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
    if problems:
        raise stop("nothing is published:\n" + "\n".join(problems), 1)
    done = run_async(publish_definitions(target.settings(), definitions, who=who(), live=not not_live, dry_run=dry_run))
    if json:
        print_json(done)
    else:
        print_table(
            ["agent", "version", "outcome"],
            [(p.name, p.version, ("would be " if dry_run else "") + p.outcome) for p in done],
        )
