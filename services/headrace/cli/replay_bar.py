"""A bar on stderr for the progress of a job."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from headrace.replay.jobs.progress import Progress


class Bar(Progress):
    """Told like any progress; within ``with`` it shows. ``dollars``: also what is spent."""

    def __init__(self, what: str, *, dollars: bool = False) -> None:
        super().__init__()
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[extra]}"))
        self._bars = Bars(*columns, TimeRemainingColumn(), console=Terminal(stderr=True), transient=True)
        self._task = self._bars.add_task("", total=None, extra="")
        self._dollars = dollars

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def of(self, total: int) -> None:
        super().of(total)
        self._bars.update(self._task, total=total)

    def told(self, passed: int, spent_usd: float = 0.0, total: int | None = None) -> None:
        super().told(passed, spent_usd, total)
        facts = self.facts()
        extra = f"${spent_usd:.4f}" if self._dollars else f"{facts['rate']:,.0f}/s"
        self._bars.update(self._task, completed=passed, total=facts["total"], extra=extra)
