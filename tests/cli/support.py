"""Running the command as people and scripts do: as a process, with its output in a pipe or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from headrace.local.control import down
from headrace.local.endpoints import VARIABLES
from tests.support.interrupts import heed_interrupts
from tests.support.mesh import until
from tests.support.stack import data_folder

T = TypeVar("T")
COMMAND = [sys.executable, "-m", "headrace"]
LIMIT_S = 180


def environment(**more: str) -> dict[str, str]:
    """Ours, without whatever names servers, models or settings."""
    outside = ("HEADRACE_", "ANTHROPIC_", "OPENAI_", *VARIABLES.values())
    left = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    return left | {"ANTHROPIC_API_KEY": "", "OPENAI_API_KEY": ""} | more


def headrace(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A command, run to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(**env), input=stdin, capture_output=True, text=True, timeout=LIMIT_S
    )


def without_reader(*arguments: str, **env: str) -> tuple[int, str]:
    """Exit code and stderr where whoever read stdout has gone, as ``head`` does."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@contextmanager
def started(*arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs; killed at the end if it still does."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Read its stderr up to a line that has ``text``."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"ended without saying {text!r}:\n{''.join(seen)}")


def ended(process: subprocess.Popen[str], by: signal.Signals) -> int:
    """Its exit code after that signal."""
    process.send_signal(by)
    process.communicate(timeout=LIMIT_S)
    return process.returncode


def on_terminal(*arguments: str, columns: int = 80, **env: str) -> tuple[int, str]:
    """Exit code and what is on the screen of a terminal ``columns`` wide."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in environment(**env).items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [*COMMAND, *arguments], env=variables, stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.DEVNULL
    ) as process:
        os.close(terminal)
        screen = b""
        try:
            while chunk := os.read(controller, 65_536):
                screen += chunk
        except OSError:  # Linux says so when the last writer has gone
            pass
        process.wait(LIMIT_S)
    os.close(controller)
    return process.returncode, screen.decode().replace("\r\n", "\n")


@contextmanager
def room() -> Iterator[Path]:
    """An empty folder for data directories; a mesh that still runs on one of them at the end is stopped."""
    with data_folder() as folder:
        try:
            yield folder
        finally:
            for lock in folder.glob("*/lock"):
                down(lock.parent)


def eventually(condition: Callable[[], T | None], what: str) -> T:
    return until(condition, LIMIT_S, what)


def supervisor_log(data: Path) -> str:
    return (data / "logs" / "supervisor.log").read_text(errors="replace")
