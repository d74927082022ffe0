"""The simulation's cell: neither Ctrl-C nor a killed process leaves it waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.faults import lives
from tests.support.interrupts import heed_interrupts
from tests.support.mesh import until

LONG = "from tests.faults import lives\nif __name__ == '__main__':\n    lives.run(0, 50_000)\n"


@pytest.fixture
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The cell at work, in a process group as a terminal makes one."""
    main = tmp_path_factory.mktemp("lives") / "main.py"
    main.write_text(LONG)
    process = subprocess.Popen(
        [sys.executable, str(main)],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
        start_new_session=True,
    )
    with process:
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_cell_counts_its_lives() -> None:
    verdict = lives.run(0, 4)
    assert (verdict.figures.seeds, verdict.violations) == (4, [])


def workers(cell: subprocess.Popen[str]) -> list[psutil.Process]:
    """Its processes that have worked for a while."""
    below = psutil.Process(cell.pid).children(recursive=True)
    return [one for one in below if one.cpu_times().user > 0.3 and one.ppid() != cell.pid]


def at_work(cell: subprocess.Popen[str]) -> list[psutil.Process]:
    return until(lambda: workers(cell), 60, "processes are at work")


def test_ctrl_c_ends_it_with_all_its_processes(cell: subprocess.Popen[str]) -> None:
    family = [*at_work(cell), *psutil.Process(cell.pid).children(recursive=True)]
    os.killpg(cell.pid, signal.SIGINT)
    _, errors = cell.communicate(timeout=30)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    _, left = psutil.wait_procs(family, timeout=10)
    assert left == []


def test_a_process_that_was_killed_is_told(cell: subprocess.Popen[str]) -> None:
    at_work(cell)[0].kill()
    _, errors = cell.communicate(timeout=30)
    assert cell.returncode == 1
    assert "BrokenProcessPool" in errors
