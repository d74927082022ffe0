"""A service that the supervisor keeps stopped while somebody holds it, as a rebuild under `headrace up` does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.local.control import await_service, down, service_held, up_detached
from headrace.local.endpoints import VARIABLES
from headrace.local.errors import StackError
from headrace.local.stack import State
from headrace.local.state import ServiceStatus, running_state
from tests.support.stack import data_folder

HOLDS = """
import sys, time
from pathlib import Path
from headrace.local.control import service_held
with service_held(Path(sys.argv[1]), "tiny"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    with data_folder() as path:
        yield path
        down(path / "data")


def service(folder: Path, name: str) -> ServiceStatus:
    return next(one for one in running_state(folder / "data").services if one.name == name)


def test_a_held_service_stands_still_until_the_hold_ends_or_its_holder_dies(folder: Path) -> None:
    data = folder / "data"
    up_detached([sys.executable, "-m", "tests.stack.tiny_mesh", str(folder)], data, timeout=200)
    first, other = service(folder, "tiny"), service(folder, "other")

    with service_held(data, "tiny"):
        assert (folder / "drained").read_text() == "True"
        time.sleep(0.6)  # two turns of the supervisor's loop
        assert (service(folder, "tiny").state, service(folder, "tiny").pid) == (State.STOPPED, None)
        assert service(folder, "other") == other
        assert running_state(data).phase == "ready"
    await_service(data, "tiny", State.READY, timeout=30)
    second = service(folder, "tiny")
    assert second.pid not in (None, first.pid)
    assert second.restarts == 0

    with pytest.raises(StackError, match="runs no service unknown"), service_held(data, "unknown"):
        pass
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(data)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert service(folder, "tiny").state == State.STOPPED
        holder.send_signal(signal.SIGKILL)
    await_service(data, "tiny", State.READY, timeout=30)
