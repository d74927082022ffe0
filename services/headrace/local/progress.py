"""How long-running work of the stack tells what it is doing.

Work takes a `Progress` callback and knows nothing of terminals. Callbacks are called from several threads at once, so
both consoles below take a lock. A message without `total` is one line; with `total` it is a bar (bytes).
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened: `part` (for example "kafka"), a `message`, and bytes `done` of `total` for downloads."""

    part: str
    message: str
    done: int | None = None
    total: int | None = None


Progress = Callable[[Step], None]


def silent(_step: Step) -> None:
    """A progress callback that shows nothing."""


class _Lines:
    """Plain lines for logs and pipes; a download is a line each tenth."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._tenths: dict[tuple[str, str], int] = {}

    def __call__(self, step: Step) -> None:
        with self._lock:
            if step.total is None or step.done is None:
                self._print(f"{step.part}: {step.message}")
                return
            tenth = 10 * step.done // max(step.total, 1)
            if tenth > self._tenths.get((step.part, step.message), -1):
                self._tenths[step.part, step.message] = tenth
                self._print(f"{step.part}: {step.message} {10 * tenth}% of {step.total / 1e6:.0f} MB")

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class _Terminal:
    """Rich progress bars, one a download, below the lines."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, step: Step) -> None:
        with self._lock:
            if step.total is None or step.done is None:
                self._bars.console.print(f"[bold]{step.part}[/bold]: ", end="")
                self._bars.console.print(step.message, markup=False, highlight=False)
                return
            key = (step.part, step.message)
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(f"{step.part}: {step.message}", total=step.total)
            self._bars.update(self._tasks[key], completed=step.done)


@contextmanager
def console_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """A callback that writes to `stream` (default: standard error): bars on a terminal, plain lines otherwise."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield _Lines(stream)
        return
    # Imported for a terminal only: a mesh that starts in the background is up a tenth of a second sooner.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        yield _Terminal(bars)
