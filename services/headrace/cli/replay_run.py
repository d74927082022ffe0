"""``headrace replay run``"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.cli.output import Exit, note, print_facts, print_json, stop
from headrace.cli.replay_detached import detach as detached
from headrace.cli.target import JsonFlag, Target, run_async
from headrace.cli.who import who
from headrace.history.stored import History, open_history
from headrace.messages.agent import AgentDefinition
from headrace.reasoning.agents import Definitions
from headrace.reasoning.settings import ReasoningSettings
from headrace.registry.follow import followed_catalog
from headrace.registry.load import InvalidDefinition, load_file
from headrace.replay.actions import on_record
from headrace.replay.jobs.rerun import tally_facts
from headrace.replay.regression import Regression, Tally
from headrace.replay.rerun import Rerun
from headrace.replay.start import OutOfRange, parse_time
from headrace.settings import MeshSettings

_NOWHERE = Target()
_EPOCH = datetime.fromtimestamp(0, UTC)
Flag = Annotated[bool, Parameter(negative=())]


def run(
    run: str | None = None,
    *,
    all: Flag = False,
    since: str | None = None,
    agent: str | None = None,
    definition: Path | None = None,
    detach: Flag = False,
    name: str | None = None,
    target: Target = _NOWHERE,
    json: JsonFlag = False,
) -> None:
    """Reason a run again over its recorded model and tool answers, and compare each record byte for byte.

    Asks no model and calls no tool: records, blobs and the index are read, and the reasoning is done where nothing can be
    reached. Exits with 5 if a record differs, with 4 if there is no such run, with 1 if its records are gone.

    Example: `headrace replay run --all --since 2026-11-01 --agent pr-risk-reviewer`

    Parameters
    ----------
    run
        Run id (the job id).
    all
        All runs that have ended, oldest first, instead of one.
    since
        With --all: only runs created since this ISO 8601 time; UTC if it names no offset.
    agent
        With --all: only of this agent.
    definition
        A definition file to reason by in place of the published one of that name, whatever its version: what would change if
        the model still gave these answers.
    detach
        With --all: hand it to the service `replay`, which reasons by its own code, and return: `headrace replay watch NAME` shows
        it.
    name
        With --detach: a name for the replay, of small letters, digits and -.
    json
        Print JSON.
    """
    if (run is None) != all:
        raise stop("name one run, or say --all", 2)
    if run is not None and (since is not None or agent is not None or detach):
        raise stop("--since, --agent and --detach are for --all", 2)
    if detach and definition is not None:
        raise stop("--definition is for a re-run here: the service reasons by what is published", 2)
    if name is not None and not detach:
        raise stop("--name is for --detach", 2)
    if detach:
        start = _time(since) if since else None
        detached(target, "rerun", json=json, replay_id=name, since=start, agent=agent)
        return
    settings = target.settings()
    if run is not None:
        _one(settings, run, definition, json=json)
        return
    tally = run_async(_all(settings, _time(since), agent, definition))
    if json:
        print_json(tally_facts(tally))
    else:
        _show(tally)
    if not tally.ok:
        raise Exit(5)


def _one(settings: MeshSettings, run: str, definition: Path | None, *, json: bool) -> None:
    rerun, broken = run_async(_rerun(settings, run, definition))
    if rerun is None:
        code = 4 if broken is None else 1
        raise stop(f"no run {run} in the index" if broken is None else f"run {run} can't be run again: {broken}", code)
    if json:
        print_json(asdict(rerun))
    else:
        print_facts([("run", rerun.run_id), ("verdict", rerun.verdict), ("records compared", rerun.records)])
        if not rerun.ended:
            note("the run has not ended: what is there so far was compared")
        _show_divergence(rerun)
    if rerun.divergence:
        raise Exit(5)


async def _rerun(settings: MeshSettings, run: str, definition: Path | None) -> tuple[Rerun | None, str | None]:
    """What came of it; else why not (None, None: there is no such run)."""
    async with open_history(settings) as history, followed_catalog(settings) as catalog:
        if not await history.knows(run):
            return None, None
        async with on_record(settings, "rerun", who(), run_id=run) as done:
            page = await history.page_of([run])
            if broken := page.broken.get(run):
                return None, broken
            [rerun] = await _regression(history, catalog, definition).rerun(page)
            done.records = rerun.records
            return (None, rerun.why) if rerun.why else (rerun, None)


async def _all(settings: MeshSettings, since: datetime, agent: str | None, definition: Path | None) -> Tally:
    async with (
        open_history(settings) as history,
        followed_catalog(settings) as catalog,
        on_record(settings, "rerun", who(), agent=agent, range=f"since {since.isoformat()}") as done,
    ):
        work = _regression(history, catalog, definition)
        columns = (TextColumn("re-running"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=Terminal(stderr=True), transient=True) as bars:
            task = bars.add_task("", total=await history.count(since, agent), rate="")

            def told(tally: Tally) -> None:
                bars.update(task, completed=tally.runs, rate=f"{tally.rate:,.0f} runs/s")

            tally = await work.rerun_all(history.pages(since, agent), told)
        done.records = tally.runs
        return tally


def _regression(history: History, catalog: Definitions, definition: Path | None) -> Regression:
    if definition is not None:
        catalog = _Instead(catalog, _loaded(definition))
    return Regression(history, catalog, ReasoningSettings())


class _Instead:
    """A catalogue in which one agent has one definition, under every version."""

    def __init__(self, catalog: Definitions, definition: AgentDefinition) -> None:
        self._catalog = catalog
        self._definition = definition

    def live(self, name: str, key: str | None = None) -> AgentDefinition | None:
        return self._definition if name == self._definition.name else self._catalog.live(name, key)

    def get(self, name: str, version: str) -> AgentDefinition | None:
        return self._definition if name == self._definition.name else self._catalog.get(name, version)


def _loaded(path: Path) -> AgentDefinition:
    try:
        return load_file(path)
    except (InvalidDefinition, OSError) as error:
        raise stop(str(error), 2) from None


def _time(text: str | None) -> datetime:
    if text is None:
        return _EPOCH
    try:
        return datetime.fromtimestamp(parse_time(text).timestamp_ms / 1000, UTC)
    except OutOfRange as error:
        raise stop(f"--since: {error}", 2) from None


def _show(tally: Tally) -> None:
    for rerun in tally.diverged:
        print(f"run {rerun.run_id}")
        _show_divergence(rerun)
    for run, why in tally.broken.items():
        note(f"run {run} can't be run again: {why}")
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(tally.verdicts.items()) if count)
    print(
        f"{tally.runs:,} runs: {counts or 'none'}; {tally.records:,} records compared "
        f"in {tally.seconds:.1f} s ({tally.rate:,.0f} runs/s)"
    )
    note(f"read {tally.bytes_read / 1e6:,.1f} MB of records")


def _show_divergence(rerun: Rerun) -> None:
    if (found := rerun.divergence) is None:
        return
    print_facts(
        [
            ("first divergence", f"{found.record} (step {found.step}), at {found.where}"),
            ("recorded", found.recorded),
            ("now", found.now),
        ]
    )
