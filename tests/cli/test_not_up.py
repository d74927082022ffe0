"""A mesh that is not up, not up yet, or has lost its servers: exit code 3, and what to do about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from headrace.local.endpoints import VARIABLES, Endpoints
from headrace.local.stack import PartStatus, State
from headrace.local.state import MeshState, ServiceStatus, own_state, write_state
from tests.cli.conftest import Run

NOBODY = "127.0.0.1:9"  # the discard port: refused at once
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "refund-watcher.yaml"
EVENT = EXAMPLE.with_name("refund-requested.json")
CLIENTS = [
    "topics diff",
    "topics apply",
    "topics apply --dry-run",
    "prepare",
    "events send --source shop --type order.placed",
    "events send --sample",
    "agent hello",
    "webhooks test alertmanager",
    "webhooks redeliver d-1",
    "webhooks redeliver --since 2026-11-01",
    "runs list",
    "runs show some-run",
    "runs cancel some-run",
    "results tail",
    "agents list",
    "agents show assistant",
    f"agents publish {EXAMPLE}",
    f"triggers test {EVENT}",
    "dlq list",
    "dlq show ingest 0/1",
    "dlq redrive ingest --all",
]


@pytest.fixture
def dead() -> MeshState:
    """What a supervisor would have written (this process stands for it) whose servers are all gone."""
    return own_state(
        "ready",
        endpoints=Endpoints(NOBODY, f"http://{NOBODY}", f"postgresql://u:hidden@{NOBODY}/d"),
        gateway_url=f"http://{NOBODY}",
        parts=[PartStatus("kafka", State.READY, 0.0, 0, 2**22 + 1, (9,), "kafka.log")],  # no pid is that large
        services=[ServiceStatus("gateway", State.READY, 0.0, 0, None, 9, "gateway.log")],
    )


@pytest.mark.parametrize("command", [*CLIENTS, "status", "down"])
def test_not_up(run: Run, tmp_path: Path, command: str) -> None:
    done = run(*command.split(), data=tmp_path)

    assert (done.code, done.out) == (3, "")
    assert str(tmp_path) in done.err
    assert command == "down" or "headrace up" in done.err


@pytest.mark.parametrize("command", CLIENTS)
def test_up_by_its_state_file_but_its_servers_are_gone(run: Run, tmp_path: Path, dead: MeshState, command: str) -> None:
    write_state(tmp_path, dead)

    done = run(*command.split(), data=tmp_path)

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("headrace: ")
    assert done.err.count("\n") == 1
    assert "hidden" not in done.err
    if not command.startswith(
        ("events", "runs", "agent ", "webhooks test")
    ):  # told before a client is made, which gives up a minute later only
        assert f"Kafka of the mesh on {tmp_path} ({NOBODY}) does not answer: see `headrace status" in done.err


def test_status_of_such_a_mesh_shows_what_is_gone(run: Run, tmp_path: Path, dead: MeshState) -> None:
    write_state(tmp_path, dead)

    done = run("status", "--json", data=tmp_path)

    assert done.code == 1
    assert [(row["name"], row["state"]) for row in done.json["servers"]] == [("kafka", "crashed")]
    assert [(row["name"], row["state"]) for row in done.json["services"]] == [("gateway", "not answering")]


@pytest.mark.parametrize("command", CLIENTS)
def test_still_starting(run: Run, tmp_path: Path, command: str) -> None:
    write_state(tmp_path, own_state("starting"))

    done = run(*command.split(), data=tmp_path)

    assert (done.code, done.out) == (3, "")
    assert "still starting" in done.err


def test_status_while_it_starts(run: Run, tmp_path: Path) -> None:
    write_state(tmp_path, own_state("starting"))

    done = run("status", data=tmp_path)

    assert done.code == 1
    assert done.out.startswith("mesh: starting")


def test_why_the_last_one_failed_is_told(run: Run, tmp_path: Path) -> None:
    failed = own_state("failed", error="Kafka crashed 4 times\n--- end of kafka.log ---")
    write_state(tmp_path, dataclasses.replace(failed, started=failed.started - 1000))

    for command in ("status", "runs list"):
        done = run(*command.split(), data=tmp_path)
        assert done.code == 3
        assert "the last one ended with: Kafka crashed 4 times\n" in done.err


@pytest.mark.parametrize("command", ["topics diff", "agents list", "dlq list", "results tail"])
def test_servers_of_the_environment_that_do_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY)
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", f"http://{NOBODY}")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:hidden@{NOBODY}/d")

    done = run(*command.split())

    assert done.code == 3
    assert "KAFKA_BOOTSTRAP_SERVERS" in done.err
    assert "hidden" not in done.err


@pytest.mark.parametrize("options", ['{"sasl.password": ["planted"]}', '{"sasl.password": planted'])
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "127.0.0.1:9")
    monkeypatch.setenv("HEADRACE_KAFKA_OPTIONS", options)

    done = run("topics", "diff")

    assert done.code == 2
    assert "kafka_options" in done.err
    assert "planted" not in done.err


@pytest.mark.parametrize("command", ["agent hello", "events send --sample"])
def test_a_credential_that_can_be_none_is_told_and_not_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("HEADRACE_GATEWAY_URL", f"http://{NOBODY}")
    monkeypatch.setenv("HEADRACE_API_KEY", "hrk_plänted")
    done = run(*command.split(), data=tmp_path)

    assert (done.code, done.out) == (1, "")
    assert done.err == "headrace: HEADRACE_API_KEY is not a key or a token\n"
