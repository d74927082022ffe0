"""``headrace triggers test``: what would start and why not, from any form of file, without a mesh."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.cli.conftest import Run

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
REFUND, WATCHER = EXAMPLES / "refund-requested.json", EXAMPLES / "refund-watcher.yaml"
OTHER = """
name: {name}
version: 1.0.0
category: test
description: test
system_prompt: test
triggers:
- {{type: refund.*, source: elsewhere}}
- {{type: refund.requested, filter: "data.total > `1000`"}}
"""


@pytest.fixture
def other(tmp_path: Path) -> Path:
    file = tmp_path / "other.yaml"
    file.write_text(OTHER.format(name="other"))
    return file


def test_an_event_and_two_agents(run: Run, other: Path) -> None:
    done = run("triggers", "test", str(REFUND), "--definition", str(WATCHER), "--definition", str(other), "--json")
    assert (done.code, done.err) == (0, "")
    (event,) = done.json[0]["events"]
    assert (event["event"]["id"], event["event"]["type"]) == ("r-1042", "refund.requested")
    refused, starts = event["agents"]
    assert (starts["agent"], starts["starts"], starts["why_not"]) == ("refund-watcher", True, None)
    assert (refused["agent"], refused["starts"]) == ("other", False)
    assert refused["why_not"] == "filter data.total > `1000` is false", "the trigger that came closest"


def test_the_table_says_the_same(run: Run, other: Path) -> None:
    done = run("triggers", "test", str(REFUND), "--definition", str(WATCHER), "--definition", str(other))
    assert done.code == 0
    assert [line.split()[:4] for line in done.out.splitlines()[1:]] == [
        ["refund.requested", "order-1042", "other", "no"],
        ["refund.requested", "order-1042", "refund-watcher", "yes"],
    ]


def test_one_agent_of_many(run: Run, other: Path) -> None:
    definitions = ("--definition", str(WATCHER), "--definition", str(other))
    done = run("triggers", "test", str(REFUND), *definitions, "--agent", "other", "--json")
    assert [agent["agent"] for agent in done.json[0]["events"][0]["agents"]] == ["other"]
    done = run("triggers", "test", str(REFUND), *definitions, "--agent", "nobody")
    assert (done.code, "no agent nobody (there are: other, refund-watcher)" in done.err) == (4, True)


def test_what_can_not_be_understood_is_told_with_its_cause(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(REFUND.read_bytes() + b'\n{"webhook": "jira", "body": {}}\n{"source": 1\n')
    done = run("triggers", "test", str(file), "--definition", str(WATCHER), "--json")
    assert done.code == 1
    assert [one["document"] for one in done.json] == [1, 2, 3]
    assert [one.get("error", {}).get("cause") for one in done.json] == [None, "jira_event", "json"]
    assert "jira_event" in run("triggers", "test", str(file), "--definition", str(WATCHER)).err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nowhere.json", "--definition", str(WATCHER)), 2, "No such file"),
        ((str(REFUND), "--definition", "nowhere.yaml"), 2, "No such file"),
        ((str(REFUND), "--definition", str(REFUND)), 1, "unknown field"),
        (("--nonsense", "--definition", str(WATCHER)), 2, "nonsense"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = run("triggers", "test", *arguments)
    assert (done.code, says in done.err) == (code, True), done.err


def test_a_list_posted_to_events(run: Run, tmp_path: Path) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "shop", "type": "refund.requested", "data": {"total": 500}}
    file = tmp_path / "batch.json"
    file.write_bytes(orjson.dumps([event, {**event, "id": "2", "data": {"total": 5}}], option=orjson.OPT_INDENT_2))
    (document,) = run("triggers", "test", str(file), "--definition", str(WATCHER), "--json").json
    assert [one["agents"][0]["starts"] for one in document["events"]] == [True, False]
