"""``headrace budgets``: it works on the database and the topic of changes, not through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cyclopts import App

from headrace.budgets.changes import remove_budget, set_budget
from headrace.budgets.load import InvalidBudgets, load_file
from headrace.budgets.postgres import PostgresBudgets
from headrace.budgets.report import report
from headrace.cli.output import print_facts, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.messages.budget import Budget
from headrace.postgres.pool import open_pool
from headrace.registry.publish import connected
from headrace.settings import MeshSettings

app = App(
    name="budgets",
    help="What model calls may use: tokens and money, by tenant, agent, session or run.",
    help_format="markdown",
)

_NOWHERE: Final = Target()


@app.command(name="set")
def set_(*files: Path, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Set the budgets of one or more files: new ones, and those of the same names anew.

    Each change is a record on `budget.changes`, and so an entry of the audit log. Reasoners know it within about a second;
    what was used before, in the present window, counts.

    Example: `headrace budgets set docs/examples/budgets.yaml`

    Parameters
    ----------
    files
        YAML or JSON: one budget, or a list of them.
    json
        Print JSON.
    """
    if not files:
        raise stop("which files? One or more YAML or JSON files, for example budgets.yaml", 2)
    budgets: list[Budget] = []
    problems: list[str] = []
    for file in files:
        try:
            budgets += load_file(file)
        except InvalidBudgets as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
    if problems:
        raise stop("nothing is set:\n" + "\n".join(problems), 1)
    settings = target.settings()

    async def put() -> None:
        async with _store(settings) as store, connected(settings) as publisher:
            for budget in budgets:
                await set_budget(publisher, store, settings.tenant, budget, who())

    run_async(put())
    _print(budgets, json)


@app.command(name="list")
def list_(*, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """The budgets of this tenant.

    Example: `headrace budgets list`

    Parameters
    ----------
    json
        Print JSON.
    """
    _print(run_async(_read(target.settings(kafka=False))), json)


@app.command
def show(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One budget. Exits with 4 if there is no such.

    Example: `headrace budgets show all-agents --json`

    Parameters
    ----------
    name
        Its name.
    json
        Print JSON.
    """
    found = [budget for budget in run_async(_read(target.settings(kafka=False))) if budget.name == name]
    if not found:
        raise stop(f"no budget {name} (`headrace budgets list`)", 4)
    if json:
        print_json(found[0].plain())
    else:
        print_facts((field, value) for field, value in found[0].plain().items() if value is not None)


@app.command
def usage(name: str | None = None, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """What is used of the budgets in their present windows, by account.

    Spent is what the index of runs has; held is what calls under way use, and what processes have reserved for the next ones.

    Example: `headrace budgets usage all-agents`

    Parameters
    ----------
    name
        Only of this budget.
    json
        Print JSON.
    """
    settings = target.settings(kafka=False)

    async def read() -> list[dict[str, Any]]:
        async with _store(settings) as store:
            budgets = (await store.all()).get(settings.tenant, ())
            return report(budgets, await store.usage(settings.tenant, name, datetime.now(UTC)))

    found = run_async(read())
    if json:
        print_json(found)
        return
    shown = ("budget", "subject", "period", "spent_tokens", "held_tokens", "limit_tokens", "spent_usd", "limit_usd")
    columns = ("budget", "of", "window", "tokens", "held", "limit", "spent $", "limit $", "used")
    rows = [(*(row[field] for field in shown), f"{row['used_ratio']:.1%}") for row in found]
    print_table(columns, rows, empty="nothing is used", whole=("budget", "used"))


@app.command
def remove(name: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """Remove a budget: its limit is gone within about a second. Exits with 4 if there is no such.

    Example: `headrace budgets remove all-agents`

    Parameters
    ----------
    name
        Its name.
    json
        Print JSON.
    """
    settings = target.settings()

    async def end() -> bool:
        async with _store(settings) as store:
            if name not in {budget.name for budget in (await store.all()).get(settings.tenant, ())}:
                return False
            async with connected(settings) as publisher:
                return await remove_budget(publisher, store, settings.tenant, name, who())

    if not run_async(end()):
        raise stop(f"no budget {name} (`headrace budgets list`)", 4)
    if json:
        print_json({"removed": name})
    else:
        print_facts([("removed", name)])


async def _read(settings: MeshSettings) -> Sequence[Budget]:
    async with _store(settings) as store:
        return (await store.all()).get(settings.tenant, ())


@asynccontextmanager
async def _store(settings: MeshSettings) -> AsyncIterator[PostgresBudgets]:
    async with open_pool(settings, min_size=1, max_size=1) as pool:
        yield PostgresBudgets(pool)


def _print(budgets: Sequence[Budget], json: bool) -> None:
    if json:
        print_json([budget.plain() for budget in budgets])
        return
    columns = ("budget", "scope", "agent", "window", "tokens", "usd")
    rows = [(b.name, b.scope, b.agent or "-", b.window, b.tokens, b.usd) for b in budgets]
    print_table(columns, rows, empty="no budgets")
