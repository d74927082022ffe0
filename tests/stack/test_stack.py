"""A stack on its own data directory: life, crash, restart, neighbours."""

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from headrace.local.endpoints import Endpoints
from headrace.local.errors import AlreadyRunning, PartFailed, PortInUse, StartFailed, Unreachable
from headrace.local.ports import HOST
from headrace.local.stack import Stack, StackPorts, State
from tests.stack.probes import own_stack, processes_of, read_everywhere, wait_until_gone, write_everywhere
from tests.support.stack import data_folder


@pytest.fixture(autouse=True)
def nothing_external(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def crash(stack: Stack, name: str) -> None:
    (pid,) = [status.pid for status in stack.status() if status.name == name]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for watched in stack._watched:
        if watched.server.name == name:
            watched.server.process._popen.wait()  # type: ignore[union-attr]


def test_data_survive_stop_crash_and_restart_and_nothing_is_left_running() -> None:
    with own_stack() as stack:
        first = stack.start()
        write_everywhere(first, "before")
        for name in ("kafka", "registry", "postgres"):
            crash(stack, name)

        changed = stack.watch_once()

        assert {status.name: status.state for status in changed} == dict.fromkeys(
            ("kafka", "registry", "postgres"), State.READY
        )
        assert [status.restarts for status in stack.status()] == [1, 1, 1]
        assert stack.watch_once() == []
        assert read_everywhere(first) == ("before", "before", "before")

        stack.stop()
        assert wait_until_gone(stack.data_dir) == []

        again = Stack(stack.data_dir, fast=True)
        try:
            assert again.start() == first
            assert read_everywhere(first) == ("before", "before", "before")
        finally:
            again.stop()
        assert wait_until_gone(stack.data_dir) == []


def test_two_instances_run_side_by_side() -> None:
    with own_stack(parts={"kafka", "postgres"}) as one, own_stack(parts={"kafka", "postgres"}) as other:
        first, second = one.start(), other.start()

        assert first.kafka_bootstrap_servers != second.kafka_bootstrap_servers
        assert first.database_url != second.database_url
        assert first.schema_registry_url == ""


def test_a_second_stack_on_the_same_directory_is_refused() -> None:
    with own_stack(parts={"postgres"}) as stack:
        stack.start()

        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            Stack(stack.data_dir, parts={"postgres"}).start()

        assert stack.status()[0].state == State.READY
        assert processes_of(stack.data_dir)


@pytest.mark.parametrize(
    ("part", "label"), [("kafka", "Kafka"), ("registry", "the schema registry"), ("postgres", "PostgreSQL")]
)
def test_a_port_in_use_is_named(part: str, label: str, listener: int) -> None:
    with own_stack(parts={part}, ports=StackPorts(**{part: listener})) as stack:
        with pytest.raises(PortInUse, match=f"port {listener} .*{label}") as caught:
            stack.start()

        assert (caught.value.port, caught.value.what) == (listener, label)
        assert wait_until_gone(stack.data_dir) == []


def test_a_failed_start_shows_the_log_and_stops_the_other_parts() -> None:
    with own_stack(parts={"postgres"}) as stack:
        stack.start()
        stack.stop()
        (stack.data_dir / "postgres" / "data" / "PG_VERSION").write_text("11\n")

        with pytest.raises(StartFailed, match="incompatible with server") as caught:
            Stack(stack.data_dir, parts={"postgres", "kafka"}, fast=True).start()

        assert caught.value.part == "PostgreSQL"
        assert wait_until_gone(stack.data_dir) == []


def test_a_part_that_keeps_crashing_is_given_up_with_its_log() -> None:
    with own_stack(parts={"postgres"}) as stack:
        stack.start()
        restarts = [0]
        while True:
            crash(stack, "postgres")
            (status,) = stack.watch_once()
            if status.state == State.FAILED:
                break
            assert status.state == State.READY
            restarts.append(status.restarts)
        # A restart may fail by itself, while the memory of the killed one is not free yet. It counts like any other.
        assert restarts == sorted(set(restarts))
        assert 2 <= len(restarts) <= 4
        assert restarts[-1] <= 3

        assert status.state == State.FAILED
        assert "crashed 4 times within 60 s" in status.error
        assert "database system is ready to accept connections" in status.error
        assert PartFailed.__name__ not in status.error


def test_external_parts_are_checked_and_not_started(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"{HOST}:{listener}")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", f"http://{HOST}:{listener}")
    with own_stack(parts={"kafka", "registry"}) as stack:
        assert stack.start() == Endpoints(f"{HOST}:{listener}", f"http://{HOST}:{listener}", "")
        assert {status.state for status in stack.status()} == {State.EXTERNAL}
        assert processes_of(stack.data_dir) == []


def test_an_external_part_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hidden@127.0.0.1:1/db")
    with own_stack(parts={"postgres"}) as stack, pytest.raises(Unreachable, match="DATABASE_URL") as caught:
        stack.start()

    assert "hidden" not in str(caught.value)


def test_endpoints_do_not_print_the_password() -> None:
    assert "hidden" not in repr(Endpoints("a:1", "http://b", "postgresql://u:hidden@c/d"))


def test_a_data_directory_of_its_own_is_private_and_so_is_the_password() -> None:
    with data_folder() as folder:
        stack = Stack(folder / "new", fast=True, parts={"postgres"})
        try:
            stack.start()
            assert (folder / "new").stat().st_mode & 0o066 == 0  # as root, PostgreSQL's account may walk through
            assert (folder / "new" / "postgres" / "password").stat().st_mode & 0o077 == 0
            assert (folder / "new" / "postgres" / "data").stat().st_mode & 0o077 == 0
        finally:
            stack.stop()
