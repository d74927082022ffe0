"""``headrace runs``"""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from headrace.cli.output import cell, print_json, print_table, stop
from headrace.cli.target import JsonFlag, Target, index_of, run_async
from headrace.index.views import RunPage, RunView

app = App(name="runs", help="Agent runs, from the index.", help_format="markdown")

_NOWHERE = Target()


@app.command(name="list")
def list_(
    *,
    agent: str | None = None,
    state: Literal["pending", "running", "completed", "failed"] | None = None,
    event_type: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Runs, newest first.

    Example: `headrace runs list --agent pr-risk-reviewer --state failed --json`

    Parameters
    ----------
    agent
        Only of this agent.
    state
        Only in this state.
    event_type
        Only of this type of event.
    limit
        At most so many.
    cursor
        Where to go on: the cursor of the page before.
    json
        Print JSON.
    """

    async def read() -> RunPage:
        settings = target.settings()
        async with index_of(settings) as index:
            return await index.runs(
                settings.tenant, agent=agent, state=state, event_type=event_type, limit=limit, cursor=cursor
            )

    page = run_async(read())
    if json:
        print_json(page)
        return
    columns = ("run", "state", "agent", "event", "model", "tokens", "cost $", "ms", "created")
    print_table(columns, [_row(run) for run in page.runs], empty="no runs")
    if page.cursor:
        print(f"more: --cursor {page.cursor}")


def _row(run: RunView) -> tuple[object, ...]:
    tokens = run.input_tokens + run.output_tokens
    agent = f"{run.agent_name}@{run.agent_version}" if run.agent_version else run.agent_name
    event = run.event_type or "-"
    return run.run_id, run.state, agent, event, run.model, tokens, run.cost_usd, run.latency_ms, run.created_at


@app.command
def show(run: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One run: what it is, how it ended, and each of its records with topic, partition and offset.

    Exits with 4 if there is no such run.

    Example: `headrace runs show 3f0c… --json`

    Parameters
    ----------
    run
        Run id (the job id).
    json
        Print JSON.
    """

    async def read() -> RunView | None:
        settings = target.settings()
        async with index_of(settings) as index:
            return await index.run(settings.tenant, run)

    found = run_async(read())
    if found is None:
        raise stop(f"no run {run}", 4)
    if json:
        print_json(found)
        return
    facts = found.model_dump(exclude={"records"})
    print_table(["", ""], [(name, cell(value)) for name, value in facts.items() if value is not None])
    print()
    columns = ("kind", "step", "topic", "partition", "offset", "bytes", "at", "summary")
    rows = [(r.kind, r.step, r.topic, r.partition, r.offset, r.bytes, r.at, r.summary) for r in found.records]
    print_table(columns, rows)
