"""``headrace replay``"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from headrace.blobs.settings import open_blobs
from headrace.cli.output import Exit, print_json, stop
from headrace.cli.replay_detached import detach as detached
from headrace.cli.replay_service import service_of
from headrace.cli.replay_view import Console, plan_facts, show_plan, show_report, survey_facts
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.pipeline import STAGES
from headrace.postgres.pool import open_pool
from headrace.replay.actions import on_record
from headrace.replay.ledger import INDEX_TABLES, open_ledger
from headrace.replay.plan import Plan, make_plan
from headrace.replay.rebuild import Rebuild, check_rebuildable
from headrace.replay.service import Service
from headrace.replay.start import Earliest, OutOfRange, Start, parse_offsets, parse_time
from headrace.replay.stock import open_stock
from headrace.settings import MeshSettings

app = App(name="replay", help="Make again what records led to.", help_format="markdown")
app.command("headrace.cli.replay_run:run", name="run")
app.command("headrace.cli.replay_shadow:shadow", name="shadow")
app.command("headrace.cli.replay_jobs:list_", name="list")
app.command("headrace.cli.replay_jobs:show", name="show")
app.command("headrace.cli.replay_jobs:watch", name="watch")
app.command("headrace.cli.replay_jobs:cancel", name="cancel")
app.command("headrace.cli.replay_jobs:resume", name="resume")
app.command("headrace.cli.replay_beside:swap", name="swap")
app.command("headrace.cli.replay_beside:drop", name="drop")
app.command("headrace.cli.replay_horizon:horizon", name="horizon")
app.command("headrace.cli.replay_demo:demo", name="demo")
app.command("headrace.cli.replay_reprice:run", name="reprice")

_NOWHERE = Target()
Flag = Annotated[bool, Parameter(negative=())]


@app.command
def rebuild(
    *,
    group: Literal["persistence", "audit"],
    to_earliest: Flag = False,
    to_datetime: str | None = None,
    to_offset: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    empty_index: Flag = False,
    run: Flag = False,
    dry_run: Flag = False,
    yes: Flag = False,
    beside: str | None = None,
    swap: Flag = False,
    detach: Flag = False,
    timeout: float = 120.0,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Read a service's topics again from an earlier offset, to the end, and check that what it keeps is whole and not doubled.

    Stops the service where `headrace up` runs it; elsewhere, stop it first. May be interrupted and repeated at any time. Exits
    with 5 if the tables are not what the topics say, with 2 if the start is not there or the emptying was not confirmed.

    Example: `headrace replay rebuild --group persistence --to-earliest --dry-run`

    Parameters
    ----------
    group
        Whose offsets are reset. audit passes over what has its entry already: nothing is chained twice.
    to_earliest
        From the first record that is still there.
    to_datetime
        From the first record that is not older than this ISO 8601 time; UTC if it names no offset.
    to_offset
        From an offset: TOPIC:PARTITION:OFFSET, as often as you like (other partitions stay), or one number for all partitions.
    empty_index
        Empty runs, run_steps, agent_results and events first. Asks for --yes. Claims and blobs are never touched.
    run
        Run the service in this process until it is done: for a mesh on your own Kafka.
    dry_run
        Only show the plan, and what emptying the index would lose.
    yes
        Empty the index without asking further.
    beside
        Leave the live index alone: make another one of this name in the same database, from the earliest records, and compare
        the two row by row. Nothing is stopped for it.
    swap
        With --beside: put it in the live one's place if they are the same; with --yes, whatever differs. As `headrace replay swap`.
    detach
        With --beside, and without --swap: hand it to the service `replay`, and return.
    timeout
        Seconds to wait for the group to be empty, and to wait without progress.
    json
        Print JSON.
    """
    stage = STAGES.get(group)
    if stage is None:
        raise stop(f"this mesh has no service {group}", 2)
    check_rebuildable(stage, empty=empty_index)
    if ((swap or detach) and beside is None) or (swap and detach):
        raise stop("--swap and --detach are for --beside, one of them", 2)
    if beside is not None:
        if group != "persistence" or not to_earliest or to_datetime or to_offset or empty_index or run or dry_run:
            raise stop(
                "--beside is for --group persistence and --to-earliest, with --swap, --detach, --yes, --timeout and --json",
                2,
            )
        if detach:
            detached(target, "rebuild", json=json, index=beside, patience_s=timeout)
            return
        from headrace.cli.replay_beside import make_beside

        make_beside(target, beside, then_swap=swap, yes=yes, patience_s=timeout, json=json)
        return
    try:
        start = _start(to_earliest=to_earliest, to_datetime=to_datetime, to_offset=to_offset)
        settings = target.settings()
        plan = make_plan(settings, stage, start)
    except OutOfRange as error:
        raise stop(str(error), 2) from None
    service = None if dry_run else service_of(target.data, settings, group, run=run, timeout=timeout)
    span = _span(to_earliest=to_earliest, to_datetime=to_datetime, to_offset=to_offset, empty=empty_index)
    ok = run_async(
        _rebuild(settings, plan, service, empty=empty_index, yes=yes, patience_s=timeout, range=span, json=json)
    )
    if not ok:
        raise Exit(5)


def _start(*, to_earliest: bool, to_datetime: str | None, to_offset: list[str] | None) -> Start:
    if [to_earliest, to_datetime is not None, bool(to_offset)].count(True) != 1:
        raise stop("say where to start: one of --to-earliest, --to-datetime, --to-offset", 2)
    if to_offset:
        return parse_offsets(to_offset)
    return Earliest() if to_datetime is None else parse_time(to_datetime)


def _span(*, to_earliest: bool, to_datetime: str | None, to_offset: list[str] | None, empty: bool) -> str:
    """The start in the words of the command, for the record of who did it."""
    start = "to earliest" if to_earliest else f"to {to_datetime}" if to_datetime else f"to {' '.join(to_offset or ())}"
    return start + (", index emptied" if empty else "")


async def _rebuild(
    settings: MeshSettings,
    plan: Plan,
    service: Service | None,
    *,
    empty: bool,
    yes: bool,
    patience_s: float,
    range: str,
    json: bool,
) -> bool:
    """Whether the tables are as they should be; True for a dry run (no ``service``)."""
    stage = STAGES[plan.group.removeprefix("headrace.")]
    ends = {leg.where: leg.end for leg in plan.legs}
    with Console(plan) as console:
        async with (
            open_pool(settings, min_size=1, max_size=4, service="headrace-replay") as pool,
            open_ledger(pool, ends) as books,
            open_stock(settings, stage, plan, open_blobs(settings, pool)) as stock,
        ):
            work = Rebuild(settings, stage, plan, books, stock, console)
            survey = await work.survey()
            facts: dict[str, Any] = {**plan_facts(plan, survey), **survey_facts(survey)}
            if not json:
                console.clear()
                show_plan(plan, survey)
            if service is None:
                _print(facts, json=json)
                return True
            if empty and not yes:
                rows = ", ".join(f"{survey.totals[name]} of {name}" for name in INDEX_TABLES)
                raise stop(f"--empty-index removes all rows ({rows}); nothing was changed: say --yes too", 2)
            async with on_record(settings, "rebuild", who(), service=stage.service, range=range) as tally:
                tally.records = survey.census.total
                report = await work.run(survey, service, empty=empty, timeout_s=patience_s)
    if not json:
        show_report(report)
    _print(facts | report.facts(), json=json)
    return report.ok


def _print(facts: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(facts)
