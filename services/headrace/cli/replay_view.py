"""What ``headrace replay`` shows: the plan, how far it is, and what came of it; each as tables and as facts for ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from headrace.cli.output import print_table
from headrace.replay.census import Census
from headrace.replay.pace import Pace
from headrace.replay.plan import Horizon, Plan
from headrace.replay.rebuild import Report, Survey
from headrace.runtime.groups import Member

_DAY_MS: Final = 86_400_000


class Console:
    """A ``Watcher`` on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, plan: Plan) -> None:
        self._group = plan.group
        self._tty = sys.stderr.isatty()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            console=Terminal(stderr=True),
            transient=True,
            disable=not self._tty,
        )
        self._task: TaskID | None = None
        self._last = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._bars.stop()

    def clear(self) -> None:
        """Take the bar away: something else is printed."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def surveyed(self, census: Census, span: int) -> None:
        self._show("reading the topics", census.total, span, f"{census.total:,} records")

    def waiting(self, members: Sequence[Member]) -> None:
        self.said(f"waiting until {self._group} is empty: {'; '.join(map(str, members))}")

    def said(self, text: str) -> None:
        if text != self._last:
            self._last = text
            self.clear()
            print(f"headrace: {text}", file=sys.stderr, flush=True)

    def paced(self, pace: Pace) -> None:
        eta = "" if pace.eta_s is None or pace.done >= pace.total else f", {pace.eta_s:.0f} s left"
        note = f"{pace.done:,} of {pace.total:,} records, {pace.rate:,.0f}/s{eta}"
        self._show("rebuilding", pace.done, pace.total, note)

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if not self._tty:
            if (tenth := f"{what}: {10 * done // max(total, 1) * 10}%") != self._last:
                self._last = tenth
                print(f"headrace: {what}: {note}", file=sys.stderr, flush=True)
            return
        if self._task is None or self._bars.tasks[0].description != what:
            self.clear()
            self._task = self._bars.add_task(what, total=total, note=note)
        self._bars.update(self._task, completed=done, total=total, note=note)


def show_plan(plan: Plan, survey: Survey) -> None:
    columns = ("topic", "partition", "there from", "from", "to", "records", "group is at")
    print_table(
        columns,
        [
            (leg.topic, leg.partition, leg.first, leg.start, leg.end, survey.census.records[leg.where], leg.committed)
            for leg in plan.legs
        ],
    )
    print(f"\n{survey.census.total} records in all, {survey.census.undecodable} of them undecodable")
    if horizon := plan.horizon:
        oldest = min((one.oldest_ms for one in plan.horizons if one.oldest_ms is not None), default=None)
        reach = f"; the oldest record is of {_time(oldest)}" if oldest is not None else ""
        print(f"replayable horizon: {_days(horizon)} ({horizon.topic}){reach}")
    if lost := {name: count for name, count in survey.lost.items() if count}:
        rows = ", ".join(f"{count} of {name}" for name, count in sorted(lost.items()))
        print(f"--empty-index would lose what no record here makes again: {rows}")
    print(flush=True)


def show_report(report: Report) -> None:
    columns = ("rows", "before", "in the topics", "after", "missing", "unexplained", "doubled")
    print_table(
        columns,
        [
            (check.table, check.before, check.held, check.after, check.missing, check.unexplained, check.doubled)
            for check in report.checks
        ],
    )
    before, after = report.deliveries
    print(f"\ndeliveries: {before} before, {after} after; dead letters among these records: {report.dead_letters}")
    for check in report.checks:
        for example in check.examples:
            print(f"  {check.table}: {example}")
    verdict = (
        "the index is what the topics say; nothing is doubled" if report.ok else "the index differs from the topics"
    )
    print(f"{report.records} records in {report.seconds:.1f} s ({report.rate:,.0f}/s): {verdict}")


def plan_facts(plan: Plan, survey: Survey) -> dict[str, Any]:
    return {
        "group": plan.group,
        "partitions": [asdict(leg) | {"records": survey.census.records[leg.where]} for leg in plan.legs],
        "horizon": None if plan.horizon is None else asdict(plan.horizon),
        "horizons": [asdict(horizon) for horizon in plan.horizons],
    }


def survey_facts(survey: Survey) -> dict[str, Any]:
    return {
        "records": survey.census.total,
        "undecodable": survey.census.undecodable,
        "rows": dict(survey.totals),
        "lost_by_emptying": dict(survey.lost),
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _days(horizon: Horizon) -> str:
    days = horizon.retention_ms / _DAY_MS
    return f"{days:g} days" if days >= 1 else f"{horizon.retention_ms / 3_600_000:.3g} hours"
