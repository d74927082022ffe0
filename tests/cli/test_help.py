"""Every command explains itself, and wrong usage is told as such."""

from __future__ import annotations

import importlib
import inspect

import pytest

from headrace import __version__
from headrace.cli.app import GROUPS, VERBS
from tests.cli.conftest import Run
from tests.cli.support import headrace, without_reader

COMMANDS = [
    *VERBS,
    *(
        "events send",
        "runs list",
        "runs show",
        "runs watch",
        "runs cancel",
        "results tail",
        "agents list",
        "agents show",
        "agents publish",
    ),
    *("approvals list", "approvals show", "approvals approve", "approvals deny"),
    *("webhooks list", "webhooks test", "webhooks redeliver"),
    *("auth keys create", "auth keys list", "auth keys revoke", "auth token issue", "auth token revoke"),
    *("dlq list", "dlq show", "dlq redrive", "topics diff", "topics apply", "schemas export", "schemas check"),
    *("triggers test", "replay rebuild", "replay run", "replay shadow", "replay list", "replay horizon", "runs diff"),
    *("replay show", "replay watch", "replay cancel", "replay resume"),
]
SILENT = {"up", "down", "demo", "run"}
"""These print no data."""


def test_without_a_command_it_lists_all() -> None:
    done = headrace()

    assert (done.returncode, done.stderr) == (0, "")
    for name in (*VERBS, *GROUPS):
        assert f"│ {name} " in done.stdout


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_has_help_with_an_example_of_itself(run: Run, command: str) -> None:
    done = run(*command.split(), "--help")

    assert done.code == 0
    text = " ".join(done.out.split())
    assert text.startswith(f"Usage: headrace {command}")
    assert "Example" in text.partition("Parameters")[0]
    assert f"headrace {command}" in text.partition("Example")[2]
    assert ("--json" in text) == (command not in SILENT)


@pytest.mark.parametrize("name", VERBS)
def test_the_list_says_what_the_command_itself_says(name: str) -> None:
    command = getattr(importlib.import_module(f"headrace.cli.{name}"), name)

    assert (inspect.getdoc(command) or "").splitlines()[0] == VERBS[name]


@pytest.mark.parametrize("name", GROUPS)
def test_the_list_says_what_the_group_itself_says(name: str) -> None:
    assert importlib.import_module(f"headrace.cli.{name}").app.help == GROUPS[name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], 'Unknown command "nosuch"'),
        (["up", "--nosuch"], "Unknown option"),
        (["status", "somewhere"], "somewhere"),
        (["runs", "show"], "requires an argument"),
        (["runs", "list", "--state", "sleeping"], '"pending"'),
        (["runs", "list", "--limit", "0"], "limit"),
        (["runs", "list", "--limit", "501"], "limit"),
        (["topics", "apply", "--replication", "0"], "replication"),
        (["results", "tail", "-n", "0"], "Must be >= 1"),
        (["events", "send", "--nosuch"], "unknown option --nosuch"),
        (["events", "send"], "give a FILE, or --source and --type, or --sample"),
        (["events", "send", "--source", "s", "--type", "t", "--payload", "{bad"], "--payload: not JSON"),
        (["events", "send", "/nonexistent.json"], "/nonexistent.json: No such file"),
        (["events", "send", "/nonexistent.json", "--source", "s"], "either a FILE"),
        (["agents", "publish"], "which files?"),
        (["dlq", "list", "gateway"], "choose from ingest, reasoning, tools, orchestration, persistence"),
        (["dlq", "redrive", "ingest"], "name the entries, or give --all"),
        (["run"], "which services?"),
        (["run", "nosuch"], "there are: gateway, ingest"),
        (["schemas", "check", "/nonexistent"], "is no directory"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)

    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.replace("│", " ").split())


def test_bad_settings_are_named_without_their_values(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "DATABASE_URL"):
        monkeypatch.setenv(name, "127.0.0.1:1")
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", "not a prefix!")

    done = run("topics", "diff")

    assert done.code == 2
    assert "HEADRACE_TOPIC_PREFIX" in done.err.upper() or "topic_prefix" in done.err
    assert "not a prefix!" not in done.err


def test_a_reader_that_has_enough_ends_help_silently() -> None:
    assert without_reader("--help") == (0, "")
