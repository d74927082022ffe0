"""``headrace runs``"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace.cli.asking import asking
from headrace.cli.output import (
    note,
    print_facts,
    print_json,
    print_json_line,
    print_line,
    print_table,
    print_text,
    stop,
)
from headrace.cli.target import JsonFlag, Target, index_of, run_async
from headrace.index.paging import MAX_LIMIT
from headrace.index.views import RunPage, RunView
from headrace.messages.errors import BadMessage

app = App(
    name="runs",
    help="Agent runs: those of the index, following one, ending, forking and repeating them.",
    help_format="markdown",
)
app.command("headrace.cli.runs_diff:diff", name="diff")
app.command("headrace.cli.runs_fork:fork", name="fork")
app.command("headrace.cli.runs_rerun:rerun", name="rerun")
app.command("headrace.cli.runs_rerun:cancel", name="cancel")

_NOWHERE = Target()


@app.command(name="list")
def list_(
    *,
    agent: str | None = None,
    state: Literal["pending", "running", "completed", "failed"] | None = None,
    event_type: str | None = None,
    session_id: str | None = None,
    user_id: str | None = None,
    limit: Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1, lte=MAX_LIMIT))] = 50,
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
    session_id
        Only of this session.
    user_id
        Only for this user.
    limit
        At most so many, up to 500.
    cursor
        Where to go on: the cursor of the page before.
    json
        Print JSON.
    """

    async def read() -> RunPage:
        settings = target.settings(kafka=False)
        async with index_of(settings) as index:
            return await index.runs(
                settings.tenant,
                agent=agent,
                state=state,
                event_type=event_type,
                session_id=session_id,
                user_id=user_id,
                limit=limit,
                cursor=cursor,
            )

    try:
        page = run_async(read())
    except BadMessage as error:
        raise stop(f"--cursor: {error}", 2) from None
    if json:
        print_json(page)
        return
    columns = ("run", "state", "agent", "event", "model", "tokens", "cost $", "ms", "created")
    print_table(
        columns,
        [_row(run) for run in page.runs],
        empty="no runs",
        whole=("run", "state"),
        spare=("created", "cost $", "tokens", "model", "ms", "event"),
    )
    if page.cursor:
        note(f"there are more: --cursor {page.cursor}")


def _row(run: RunView) -> tuple[object, ...]:
    tokens = run.input_tokens + run.output_tokens
    agent = f"{run.agent_name}@{run.agent_version}" if run.agent_version else run.agent_name
    event = run.event_type or "-"
    return run.run_id, run.state, agent, event, run.model, tokens, run.cost_usd, run.latency_ms, run.created_at


@app.command
def show(run: str, *, target: Target = _NOWHERE, json: JsonFlag = False) -> None:
    """One run: what it is, how it ended, its family of sub-agents, and each of its records with topic, partition and offset.

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
        settings = target.settings(kafka=False)
        async with index_of(settings) as index:
            return await index.run(settings.tenant, run)

    found = run_async(read())
    if found is None:
        raise stop(f"no run {run} (`headrace runs list` lists them; a run shows up there moments after it began)", 4)
    if json:
        print_json(found)
        return
    facts = found.model_dump(exclude={"records", "family"})
    print_facts((name, value) for name, value in facts.items() if value is not None)
    if found.family:
        print()
        members = [(r.run_id, r.state, r.agent_name, r.parent_run_id or "-") for r in found.family]
        print_table(("family", "state", "agent", "delegated by"), members, whole=("family", "delegated by"))
    print()
    columns = ("kind", "step", "topic", "partition", "offset", "bytes", "at", "summary")
    rows = [(r.kind, r.step, r.topic, r.partition, r.offset, r.bytes, r.at, r.summary) for r in found.records]
    print_table(columns, rows, whole=columns[:5], spare=("at", "bytes"))


@app.command
def watch(
    run: str,
    *,
    tokens: Annotated[bool, Parameter(negative=())] = False,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Follow a run through the gateway, record by record, up to its result. Exits with 4 if there is no such run.

    Example: `headrace runs watch 3f0c… --tokens`

    Parameters
    ----------
    run
        Run id.
    tokens
        Show also what its model writes, as it writes. The run has to be asked for with `stream_tokens`.
    json
        Print a JSON document a line.
    """
    from headrace.client import Client

    with asking(), Client(target.gateway_url()) as client:
        writing = False
        for event in client.stream(run, tokens=tokens):
            if json:
                print_json_line(event.data)
            elif event.type == "tokens":
                print_text(event.data["text"], fresh=writing and event.data["at"] == 0)
            else:
                print_text("", fresh=writing)
                print_line(f"{event.type}  {_summary(event.data)}")
            writing = event.type == "tokens"


def _summary(data: dict[str, Any]) -> str:
    shown = {name: value for name, value in data.items() if name not in ("type", "run_id")}
    return orjson.dumps(shown).decode()
