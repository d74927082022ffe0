"""``headrace schemas``"""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from headrace import contracts
from headrace.cli.output import Exit, print_json, print_table, stop
from headrace.cli.target import JsonFlag
from headrace.contracts.data import schemas_dir

app = App(name="schemas", help="The contracts: JSON Schema and Avro of every message.", help_format="markdown")


@app.command
def export(directory: Path | None = None, *, json: JsonFlag = False) -> None:
    """Write the schemas of all messages to a directory (default: schemas/), and say which files changed. Needs no mesh.

    Example: `headrace schemas export /tmp/schemas`

    Parameters
    ----------
    directory
        Where to; it is made if it is missing.
    json
        Print JSON.
    """
    changed = [str(path) for path in contracts.export(directory or schemas_dir())]
    if json:
        print_json(changed)
    else:
        print_table(["file"], [(path,) for path in changed], empty="the schemas are as they should be")


@app.command
def check(directory: Path | None = None, *, json: JsonFlag = False) -> None:
    """Compare the code with the exported schemas and with the released ones; exits with 5 on drift or an incompatible change.

    Example: `headrace schemas check`

    Parameters
    ----------
    directory
        Where the exported schemas are (default: schemas/).
    json
        Print JSON.
    """
    if directory is not None and not directory.is_dir():
        raise stop(f"{directory} is no directory", 2)
    problems = contracts.check(directory)
    if json:
        print_json(problems)
    else:
        print_table(["problem"], [(str(problem),) for problem in problems], empty="the schemas are true and compatible")
    if problems:
        raise Exit(5)
