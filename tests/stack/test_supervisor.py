"""A whole mesh under its supervisor, seen from outside as the command line sees it."""

import dataclasses
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from headrace.local.control import down, up_detached
from headrace.local.errors import AlreadyRunning, NotRunning, StartFailed
from headrace.local.process import is_same_process, start_time
from headrace.local.progress import Step
from headrace.local.stack import State
from headrace.local.state import MeshState, own_state, read_state, running_state, state_path, write_state
from tests.stack.probes import fetch_value, processes_of, wait_until_gone
from tests.support.stack import data_folder


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mesh's folder; whatever still runs there at the end is stopped."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with data_folder() as path:
        yield path
        down(path / "data")


def mesh(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.stack.tiny_mesh", str(folder), *options]


def up(folder: Path, *options: str) -> MeshState:
    return up_detached(mesh(folder, *options), folder / "data", timeout=200)


def eventually(folder: Path, holds: Callable[[MeshState], bool]) -> MeshState:
    """The state once it holds; fails after 60 s."""
    deadline = time.monotonic() + 60
    while True:
        state = running_state(folder / "data")
        if holds(state):
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.1)


def pid_of(state: MeshState, name: str) -> int:
    pids = {part.name: part.pid for part in state.parts} | {service.name: service.pid for service in state.services}
    pid = pids[name]
    assert pid is not None
    return pid


FORMS = pytest.mark.parametrize("form", [[], ["forked"]], ids=["started", "forked"])


@FORMS
def test_up_restarts_what_crashes_and_down_drains_services_before_the_stack_stops(
    folder: Path, form: list[str]
) -> None:
    steps: list[Step] = []
    state = up_detached(mesh(folder, *form), folder / "data", progress=steps.append, timeout=200)

    assert (state.phase, state.gateway_url) == ("ready", "http://127.0.0.1:1")
    assert [(one.name, one.state) for one in state.services] == [("tiny", State.READY), ("other", State.READY)]
    assert stat.S_IMODE(state_path(folder / "data").stat().st_mode) == 0o600
    assert any("postgres: ready" in step.message for step in steps)
    assert state.endpoints is not None
    seen = f"{state.endpoints.database_url} True hello"
    assert (folder / "seen").read_text().splitlines() == [seen, seen]
    assert (folder / "forked").exists() == bool(form)
    assert fetch_value(state.endpoints.database_url, "SELECT count(*) FROM prepared") == 0

    os.kill(pid_of(state, "tiny"), signal.SIGKILL)
    eventually(folder, lambda now: now.services[0].restarts == 1 and now.services[0].state == State.READY)
    os.kill(pid_of(state, "postgres"), signal.SIGKILL)
    eventually(folder, lambda now: now.parts[0].restarts == 1 and now.parts[0].state == State.READY)

    assert down(folder / "data") is True
    assert (folder / "drained").read_text() == "True"
    assert wait_until_gone(folder) == []
    assert read_state(folder / "data") is None
    assert down(folder / "data") is False


def test_a_second_up_on_the_same_directory_is_refused_and_harms_nothing(folder: Path) -> None:
    state = up(folder)

    with pytest.raises(AlreadyRunning, match=str(state.pid)):
        up(folder)
    direct = subprocess.run(mesh(folder), capture_output=True, text=True, timeout=60, check=False)

    assert direct.returncode == 1
    assert f"already runs on {folder / 'data'} (process {state.pid})" in direct.stderr
    assert running_state(folder / "data") == state


@FORMS
def test_nothing_outlives_a_killed_supervisor(folder: Path, form: list[str]) -> None:
    state = up(folder, *form)
    family = psutil.Process(state.pid).children(recursive=True)
    assert {service.pid for service in state.services} <= {one.pid for one in family}

    os.kill(state.pid, signal.SIGKILL)

    assert psutil.wait_procs(family, 60)[1] == []
    assert wait_until_gone(folder) == []
    with pytest.raises(NotRunning):
        running_state(folder / "data")
    again = up(folder)
    assert again.endpoints == state.endpoints
    assert [one.ops_port for one in again.services] == [one.ops_port for one in state.services]


def test_down_cleans_up_after_a_supervisor_and_guard_that_were_both_killed(folder: Path) -> None:
    state = up(folder)
    guards = [one for one in processes_of(Path("guard.py")) if one.ppid() == state.pid]
    assert len(guards) == 1

    for pid in (guards[0].pid, state.pid):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert is_same_process(pid_of(state, "postgres"), start_time(pid_of(state, "postgres")))

    assert down(folder / "data") is True
    assert wait_until_gone(folder) == []
    assert read_state(folder / "data") is None


@FORMS
def test_a_preparation_that_fails_fails_the_start(folder: Path, form: list[str]) -> None:
    with pytest.raises(StartFailed, match="the tiny mesh can't be prepared"):
        up(folder, "refuse", *form)

    assert not (folder / "seen").exists()
    assert wait_until_gone(folder) == []


@FORMS
def test_a_service_that_cannot_start_fails_the_start_with_its_log(folder: Path, form: list[str]) -> None:
    with pytest.raises(StartFailed, match="the tiny service has no configuration"):
        up(folder, "crash", *form)

    state = read_state(folder / "data")
    assert state is not None
    assert state.phase == "failed"
    assert "the other service did not start" in state.error
    assert wait_until_gone(folder) == []


def test_a_service_port_in_use_is_named_before_anything_starts(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StartFailed, match=f"port {port} on 127.0.0.1, needed by the tiny service, is in use"):
            up(folder, f"taken={port}")

    assert not (folder / "data" / "postgres").exists()


def test_a_port_for_operations_that_somebody_took_is_given_up(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / "service-ports.json").write_text(json.dumps({"tiny-ops": taken}))
        state = up(folder)
        assert state.phase == "ready"
        assert taken not in [one.ops_port for one in state.services]


def test_a_stop_during_the_start_is_clean(folder: Path) -> None:
    with subprocess.Popen(mesh(folder), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("postgres: starting"):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=200)

    assert process.returncode == 0
    assert wait_until_gone(folder) == []
    assert read_state(folder / "data") is None


def test_down_spares_a_stranger_with_the_pid_of_a_dead_supervisor(folder: Path) -> None:
    (folder / "data").mkdir()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        stale = dataclasses.replace(own_state("ready"), pid=stranger.pid, started=start_time(stranger.pid) - 100)
        write_state(folder / "data", stale)

        assert down(folder / "data") is False

        assert stranger.poll() is None
        assert read_state(folder / "data") is None
        stranger.kill()
