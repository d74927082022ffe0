"""A service that the supervisor keeps stopped while somebody holds it; and a rebuild under `headrace up`, from end to end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.local.control import await_service, down, service_held, up_detached
from headrace.local.endpoints import VARIABLES
from headrace.local.errors import StackError
from headrace.local.stack import State
from headrace.local.state import ServiceStatus, running_state
from tests.replay.command import CommandLine
from tests.support.mesh import free_port
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


async def test_a_rebuild_under_up_stops_the_service_and_starts_it_again(
    folder: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATA", str(folder / "data"))
    for key in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(key, "")

    async def listed() -> list[Any]:
        found: list[Any] = json.loads((await cli("runs", "list", "--json")).stdout)["runs"]
        return found

    await cli("up", "--detach", "--port", str(free_port()))
    ticket = ("--source", "shop", "--type", "org.example.ticket.created", "--payload", '{"title": "Charged twice"}')
    await cli("events", "send", *ticket)
    async with asyncio.timeout(60):
        while [run["state"] for run in await listed()] != ["completed"]:
            await asyncio.sleep(0.2)
    runs = await listed()
    first = service(folder, "persistence")
    rebuild = ("replay", "rebuild", "--group", "persistence", "--to-earliest", "--empty-index", "--yes", "--json")
    report = json.loads((await cli(*rebuild)).stdout)
    assert report["ok"], report
    assert report["records"] == 3
    assert await listed() == runs
    async with asyncio.timeout(60):  # it has read everything, which the supervisor may not have heard of
        while (again := service(folder, "persistence")).state != State.READY:
            await asyncio.sleep(0.1)
    assert again.restarts == 0
    assert again.pid != first.pid
