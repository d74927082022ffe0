"""Starting a mesh in a process of its own, for ``headrace up --detach`` and ``headrace demo``.

Shows what that process shows, says why when it does not come up, and takes it along when *we* are interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from headrace.local import control
from headrace.local.errors import StackError, StartFailed
from headrace.local.progress import Progress, Step, console_progress
from headrace.local.stack import StackPorts
from headrace.local.state import MeshState

_SAID = "headrace: "  # how a command's error begins


def start_detached(data: Path, port: int, ports: StackPorts | None = None) -> MeshState:
    """A mesh on ``data``, ready. Interrupted (Ctrl-C, SIGTERM) it leaves nothing running. Raises ``StackError``."""
    with console_progress() as progress, interruptible():
        try:
            return control.up_detached(_argv(data, port, ports or StackPorts()), data, progress=_relayed(progress))
        except StartFailed as error:
            raise StackError(_reason(error)) from None
        except KeyboardInterrupt:
            control.down(data)
            raise


def _argv(data: Path, port: int, ports: StackPorts) -> list[str]:
    wanted = {"data": str(data.absolute()), "port": port, "ports": asdict(ports)}
    return [sys.executable, "-m", "headrace.cli.supervise", json.dumps(wanted)]


def _relayed(progress: Progress) -> Progress:
    """The other process's lines ("kafka: starting") as the steps that they are; its error is told at the end, once."""

    def relay(step: Step) -> None:
        part, colon, message = step.message.partition(": ")
        if colon and not step.message.startswith(_SAID) and " " not in part:
            progress(Step(part, message))

    return relay


def _reason(error: StartFailed) -> str:
    """What the other process said was wrong; if it said nothing, the end of its log."""
    try:
        log = error.log_path.read_text(errors="replace")
    except OSError:
        return str(error)
    _, said, reason = f"\n{log}".rpartition(f"\n{_SAID}")
    return reason.strip() if said else str(error)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, by ``KeyboardInterrupt``, so that what it began is undone.

    In another thread than the main one, which gets no signals, it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]  # nohup stays nohup
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
