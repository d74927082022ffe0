"""Children of the nursery: a session, an environment, a folder and a log of their own, and an end that is seen in any case."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from headrace.local.errors import StackError
from headrace.local.nursery import Entry, Forked, Nursery

IMPORTED_IN = os.getpid()
pytestmark = pytest.mark.skipif(not Nursery.possible(), reason="the nursery needs Linux")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """There is one a process: those of other tests import other things."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    yield Nursery(__name__)
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def children(nursery: Nursery, tmp_path: Path) -> Iterator["Children"]:
    made = Children(nursery, tmp_path)
    yield made
    for child in made.all:
        child.kill()


class Children:
    """Makes children whose log is the file `log`."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        self._nursery = nursery
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.all: list[Forked] = []

    def fork(self, function: str, *arguments: str, **env: str) -> Forked:
        entry = Entry(__name__, function, arguments)
        self.all.append(self._nursery.fork("small", entry, env=env, cwd=self.folder, log=self.log))
        return self.all[-1]

    def await_log(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)


# --- what children do --------------------------------------------------------------------------------------------------------


def tell(arguments: list[str]) -> None:
    """Where it is, on both streams."""
    print(arguments, os.getcwd(), dict(os.environ), os.getsid(0) == os.getpid(), os.getpid() != IMPORTED_IN, flush=True)
    print(sys.stdin.read(), "no input", file=sys.stderr)
    sys.exit(7)


def stay(_arguments: list[str]) -> None:
    """Until it is told to end, which is no failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("staying", flush=True)
    time.sleep(60)


def finish(marker: Path) -> None:
    marker.with_suffix(".begun").touch()
    time.sleep(3)
    marker.touch()


def fail(kind: str) -> None:
    if kind == "ours":
        raise StackError("it can't be done")
    if kind == "local":

        class Local(Exception):
            """One that no pickle brings over."""

        raise Local("with a secret")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


# --- tests -------------------------------------------------------------------------------------------------------------------


def test_a_child_has_its_own_session_environment_folder_and_log(children: Children) -> None:
    child = children.fork("tell", "a", "b", GREETING="hello")

    assert child.wait(30) == 7
    assert child.poll() == 7
    line, error = children.log.read_text().splitlines()
    assert line == f"{['a', 'b']} {children.folder} {{'GREETING': 'hello'}} True True"
    assert error.strip() == "no input"


def test_a_child_ends_when_it_is_asked_to(children: Children) -> None:
    child = children.fork("stay")
    children.await_log("staying")
    assert child.poll() is None
    assert Path(f"/proc/{child.pid}/comm").read_text() == "small\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)

    child.send_signal(signal.SIGTERM)

    assert child.wait(30) == 0
    child.send_signal(signal.SIGTERM)  # nobody's any more


def test_a_killed_child_says_so(children: Children) -> None:
    child = children.fork("stay")
    children.await_log("staying")

    child.kill()

    assert child.wait(30) == -signal.SIGKILL


def test_children_outlive_the_nursery_and_are_still_ours(children: Children) -> None:
    child = children.fork("stay")
    children.await_log("staying")
    nursery = psutil.Process(child.pid).parent()
    assert nursery is not None

    nursery.kill()
    while nursery.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)

    assert child.poll() is None
    child.kill()
    assert child.wait(30) == 255
    again = children.fork("tell")
    assert again.wait(30) == 7


def test_a_call_returns_when_it_is_done(nursery: Nursery) -> None:
    nursery.call(fail, "not at all")


def test_a_call_raises_what_was_raised(nursery: Nursery, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StackError, match="it can't be done") as ours:
        nursery.call(fail, "ours")
    assert "in fail" in "".join(ours.value.__notes__)
    with pytest.raises(StackError, match="Local in the preparation"):
        nursery.call(fail, "local")
    with pytest.raises(StackError, match="was killed"):
        nursery.call(fail, "killed")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises here, and its signal goes to another thread, as it may: this one is not woken by it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_call_ends_its_child(nursery: Nursery, tmp_path: Path) -> None:
    marker = tmp_path / "finished"

    def press_ctrl_c() -> None:
        while not marker.with_suffix(".begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        nursery.call(finish, marker)

    time.sleep(3.5)
    assert not marker.exists()
