"""Every command against a mesh that ``headrace up --detach`` started, and that mesh's life: crashes, down, up, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from rich.cells import cell_len

from headrace.local.state import running_state
from headrace.pipeline import STAGES
from tests.cli.conftest import Run
from tests.cli.support import (
    ended,
    eventually,
    headrace,
    on_terminal,
    room,
    started,
    supervisor_log,
    wait_for_line,
    without_reader,
)
from tests.stack.probes import wait_until_gone
from tests.support.ports import free_port

pytestmark = pytest.mark.xdist_group("cli")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "refund-watcher.yaml"


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """The data directory of a mesh that is up."""
    with room() as folder:
        done = headrace("up", "--detach", "--data", str(folder / "mesh"), "--port", str(free_port()))
        assert done.returncode == 0, done.stderr
        assert "kafka: ready" in done.stderr
        assert done.stdout.count("headrace is up") == 1
        assert f"headrace down --data {folder / 'mesh'}" in done.stdout
        yield folder / "mesh"


@pytest.fixture(scope="module")
def some_run(data: Path) -> str:
    """The id of a finished run."""
    done = headrace("events", "send", "--sample", "--only", "issue-dark-mode", "--json", HEADRACE_DATA=str(data))
    assert done.returncode == 0, done.stderr
    (row,) = orjson.loads(done.stdout)
    assert (row["event"], row["status"]) == ("issue-dark-mode", 202)
    return str(a_run(data, "issue-classifier")["run_id"])


def runs(data: Path, *options: str) -> list[dict[str, Any]]:
    done = headrace("runs", "list", "--json", *options, HEADRACE_DATA=str(data))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = orjson.loads(done.stdout)["runs"]
    return found


def a_run(data: Path, agent: str) -> dict[str, Any]:
    """A completed run of that agent; the gateway is asked, which costs less than a command again and again."""
    url = f"{running_state(data).gateway_url}/v1/runs"
    asked = {"agent": agent, "state": "completed"}
    return eventually(lambda: httpx2.get(url, params=asked, trust_env=False).json()["runs"], f"a run of {agent}")[0]


def test_status(run: Run, data: Path) -> None:
    report = run("status", "--json", data=data).json
    plain = run("status", data=data)

    assert report["phase"] == "ready"
    assert {row["name"] for row in report["servers"]} == {"kafka", "registry", "postgres"}
    assert {row["name"] for row in report["services"]} == STAGES.keys()
    assert all({"lag", "rate_per_s", "in_flight", "restarts", "pid"} <= row.keys() for row in report["services"])
    assert plain.code == 0
    assert re.search(r"^reasoning +ready", plain.out, re.MULTILINE)


def test_a_second_up_is_refused_and_names_the_first(run: Run, data: Path) -> None:
    done = run("up", "--detach", "--port", str(free_port()), data=data)

    assert done.code == 1
    assert f"process {running_state(data).pid}" in done.err


@pytest.mark.parametrize("detach", [["--detach"], []])
def test_a_port_in_use_is_named_with_its_process_and_nothing_is_taken(
    run: Run, tmp_path: Path, detach: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = run("up", *detach, "--port", str(port), data=tmp_path / "mesh")

    assert done.code == 1
    (said,) = [line for line in done.err.splitlines() if line]
    assert said.startswith(f"headrace: port {port} on 127.0.0.1, needed by the gateway service, is in use by process")
    assert f"process {os.getpid()}, " in said
    assert not (tmp_path / "mesh" / "kafka").exists()


def test_events_from_options_file_and_stdin(run: Run, data: Path, tmp_path: Path) -> None:
    options = (
        "events",
        "send",
        "--source",
        "shop",
        "--type",
        "order.placed",
        "--id",
        "o-1",
        "--payload",
        '{"total": 1}',
    )
    envelope = tmp_path / "event.json"
    envelope.write_text('{"source": "shop", "event_type": "order.placed", "id": "o-2", "payload": {}}')
    cloud = '{"specversion": "1.0", "id": "c-1", "source": "/shop", "type": "com.example.paid", "data": {}}'

    assert run(*options, "--json", data=data).json == [
        {"event": "event", "status": 202, "answer": {"accepted": 1, "ids": ["o-1"]}}
    ]
    assert run("events", "send", str(envelope), data=data).out.split()[-1] == "o-2"
    for text in (cloud, f"[{cloud}]"):
        done = headrace("events", "send", "-", stdin=text, HEADRACE_DATA=str(data))
        assert (done.returncode, done.stdout.split()[-1]) == (0, "c-1")


def test_an_event_that_the_gateway_refuses_is_1_and_shows_why(data: Path, run: Run, tmp_path: Path) -> None:
    envelope = tmp_path / "event.json"
    envelope.write_text('{"source": "shop"}')
    done = run("events", "send", str(envelope), data=data)
    assert done.code == 1
    assert "event_type" in done.out

    envelope.write_text('{"source": "shop", }')
    done = run("events", "send", str(envelope), data=data)
    assert (done.code, done.out) == (2, "")
    assert f"{envelope}: not JSON" in done.err
    assert "at byte" in done.err


def test_runs(run: Run, data: Path, some_run: str) -> None:
    shown = run("runs", "show", some_run, "--json", data=data).json
    page = run("runs", "list", "-n", "1", data=data)

    assert (shown["run_id"], shown["state"], shown["agent_name"]) == (some_run, "completed", "issue-classifier")
    assert [record["topic"] for record in shown["records"]] == ["agent.jobs", "agent.results"]
    assert all({"partition", "offset"} <= record.keys() for record in shown["records"])
    assert "agent.results" in run("runs", "show", some_run, data=data).out
    assert page.out.splitlines()[0].split()[:3] == ["run", "state", "agent"]
    assert run("runs", "list", "--agent", "nobody", data=data) == (0, "", "no runs\n")


def test_a_run_that_has_ended_is_watched_from_its_index_and_not_cancelled(run: Run, data: Path, some_run: str) -> None:
    watched = run("runs", "watch", some_run, data=data)
    assert [line.split()[0] for line in watched.out.splitlines()] == ["job", "result"]
    lines = run("runs", "watch", some_run, "--json", data=data).out.splitlines()
    assert [orjson.loads(line)["type"] for line in lines] == ["job", "result"]
    done = run("runs", "cancel", some_run, data=data)
    assert (done.code, done.out) == (1, "")
    assert "the run has ended" in done.err


def test_an_agent_is_shown_with_what_its_runtime_can_t_give(run: Run, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "crew.yaml"
    file.write_text("{name: crew, version: 1.0.0, category: c, description: d, system_prompt: p, runtime: crewai}")
    assert run("agents", "publish", str(file), data=data).code == 0
    shown = run("agents", "show", "crew", data=data)
    assert (shown.code, "runtime: crewai" in shown.out) == (0, True)
    assert "'Final Answer:'" in shown.err


def test_what_does_not_exist_is_4(run: Run, data: Path) -> None:
    for command, said in (
        ("runs show nope", "no run nope"),
        ("runs watch nope", "no such run"),
        ("runs cancel nope", "no such run"),
        ("agents show nope", "there are: alert-summariser, "),
        ("agents show assistant --version 9.9.9", "no version 9.9.9 of agent assistant (there are: "),
        ("dlq show ingest 0/999", "no dead letter 0/999"),
        ("dlq redrive ingest 0/999", "nothing is sent back"),
        ("events send --sample --only nosuch", "no sample has 'nosuch'"),
    ):
        done = run(*command.split(), data=data)
        assert (command, done.code, done.out) == (command, 4, "")
        assert said in done.err


def test_a_cursor_of_nobody_is_2(run: Run, data: Path) -> None:
    done = run("runs", "list", "--cursor", "garbage", data=data)

    assert (done.code, done.out) == (2, "")
    assert "--cursor" in done.err


def test_on_a_terminal_tables_fit_and_ids_stay_whole(data: Path, some_run: str) -> None:
    for command in (
        "runs list",
        "agents list",
        "status",
        f"runs show {some_run}",
        "results tail --from-beginning -n 1",
    ):
        code, screen = on_terminal(*command.split(), HEADRACE_DATA=str(data))
        assert code == 0, screen
        rows = [line for line in screen.splitlines() if not line.startswith("(not shown: ")]
        assert [line for line in rows if cell_len(line) > 80] == [], screen
    _, screen = on_terminal("runs", "list", HEADRACE_DATA=str(data))
    assert some_run in screen


def test_in_a_pipe_rows_are_whole(run: Run, data: Path, some_run: str) -> None:
    (line,) = [line for line in run("runs", "list", data=data).out.splitlines() if line.startswith(some_run)]

    assert line.split()[1:5] == ["completed", "issue-classifier@1.0.0", "com.github.issues.opened", "offline"]
    assert "…" not in run("agents", "list", data=data).out


def test_a_reader_that_has_enough_ends_a_command_silently(data: Path, some_run: str) -> None:
    for command in ("runs list --json", "agents list", "results tail --from-beginning --json"):
        assert (command, without_reader(*command.split(), HEADRACE_DATA=str(data))[0]) == (command, 0)
    assert without_reader("agents", "list", HEADRACE_DATA=str(data)) == (0, "")


def test_results_from_the_beginning_are_a_json_document_a_line(run: Run, data: Path, some_run: str) -> None:
    done = run("results", "tail", "--from-beginning", "-n", "1", "--agent", "issue-classifier", "--json", data=data)

    assert done.code == 0
    (result,) = [orjson.loads(line) for line in done.out.splitlines()]
    assert (result["agent_name"], result["status"]) == ("issue-classifier", "completed")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_results_tail_follows_and_ends_cleanly(run: Run, data: Path, by: signal.Signals) -> None:
    with started("results", "tail", "--json", HEADRACE_DATA=str(data)) as tail:
        wait_for_line(tail, "following agent.results")
        run(
            "events",
            "send",
            "--source",
            "shop",
            "--type",
            "ticket.created",
            "--payload",
            '{"title": "Late"}',
            data=data,
        )
        assert tail.stdout is not None
        result = orjson.loads(tail.stdout.readline())
        tail.send_signal(by)
        _, errors = tail.communicate(timeout=60)

    assert result["event_type"] == "ticket.created"
    assert (tail.returncode, errors) == (0, "")


def test_agents(run: Run, data: Path, tmp_path: Path) -> None:
    listed = {agent["name"] for agent in run("agents", "list", "--json", data=data).json}
    as_yaml = run("agents", "show", "pr-risk-reviewer", data=data)
    copy = tmp_path / "copy.yaml"
    copy.write_text(as_yaml.out)

    assert "pr-risk-reviewer" in listed
    assert run("agents", "show", "pr-risk-reviewer", "--json", data=data).json["triggers"]
    assert run("agents", "publish", str(copy), "--json", data=data).json == [
        {"name": "pr-risk-reviewer", "version": "1.0.0", "outcome": "unchanged"}
    ]


def test_publishing_an_agent(run: Run, data: Path, tmp_path: Path) -> None:
    dry = run("agents", "publish", str(EXAMPLE), "--dry-run", data=data)
    assert (dry.code, dry.out.splitlines()[-1].split()) == (0, ["refund-watcher", "1.0.0", "would", "be", "published"])
    assert run("agents", "show", "refund-watcher", data=data).code == 4

    assert run("agents", "publish", str(EXAMPLE), data=data).out.splitlines()[-1].endswith("published")
    event = ("--source", "shop", "--type", "refund.requested", "--payload", '{"order": 1042, "total": 250}')
    assert run("events", "send", *event, data=data).code == 0
    assert a_run(data, "refund-watcher")["event_type"] == "refund.requested"

    changed = tmp_path / "changed.yaml"
    changed.write_text(EXAMPLE.read_text().replace("description: ", "description: Otherwise. ", 1))
    refused = run("agents", "publish", str(changed), data=data)
    assert (refused.code, refused.out) == (1, "")
    assert "refund-watcher 1.0.0 is published with another definition" in refused.err


def test_bad_definitions_are_told_by_file_path_and_reason(run: Run, data: Path, tmp_path: Path) -> None:
    bad, broken = tmp_path / "bad.yaml", tmp_path / "broken.yaml"
    bad.write_text(
        EXAMPLE.read_text().replace("name: refund-watcher", "name: innocent") + "\ncolour: red\ntools: [nosuch]\n"
    )
    broken.write_text("name: [\n")

    done = run("agents", "publish", str(EXAMPLE), str(bad), str(broken), str(tmp_path / "none.yaml"), data=data)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("headrace: nothing is published:\n")
    lines = done.err.splitlines()
    assert any(line.startswith(f"{bad}:") and ": /colour: unknown field" in line for line in lines), lines
    assert any(line.startswith(f"{bad}:") and ": /tools/0: unknown tool 'nosuch'" in line for line in lines), lines
    assert any(line.startswith(f"{broken}:") for line in lines)
    assert f"{tmp_path / 'none.yaml'}: No such file or directory" in lines


def test_dead_letters(run: Run, data: Path, tmp_path: Path) -> None:
    assert run("dlq", "list", "tools", data=data) == (0, "", "no dead letters\n")
    poison(running_state(data).endpoints.kafka_bootstrap_servers)  # type: ignore[union-attr]
    (letter,) = eventually(lambda: run("dlq", "list", "ingest", "--json", data=data).json, "a dead letter")

    shown = run("dlq", "show", "ingest", letter["id"], "--json", data=data).json
    assert (letter["service"], letter["topic"], shown["value"]) == ("ingest", "ingest.raw", "{garbage\x1b[2J")
    assert "\x1b" not in run("dlq", "show", "ingest", letter["id"], data=data).out
    assert run("dlq", "list", data=data).out.splitlines()[1].split()[:2] == ["ingest", letter["id"]]

    dry = run("dlq", "redrive", "ingest", "--all", "--dry-run", data=data)
    assert "would go back to" in dry.out.splitlines()[0]
    assert [one["id"] for one in run("dlq", "list", "ingest", "--json", data=data).json] == [letter["id"]]
    assert [one["id"] for one in run("dlq", "redrive", "ingest", "--all", "--json", data=data).json] == [letter["id"]]
    again = eventually(lambda: run("dlq", "list", "ingest", "--json", data=data).json, "it fails again")
    assert [(one["redrives"], one["id"] != letter["id"]) for one in again] == [(1, True)]


def poison(servers: str) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers})
    producer.produce("ingest.raw", b"{garbage\x1b[2J", key=b"k")
    assert producer.flush(30) == 0


def test_topics_schemas_and_prepare(run: Run, data: Path, tmp_path: Path) -> None:
    assert run("topics", "diff", "--json", data=data).json == []
    assert run("topics", "diff", data=data) == (0, "", "the topics are as declared\n")
    assert run("topics", "apply", "--dry-run", "--json", data=data).json == []
    done = run("prepare", "--json", data=data).json
    assert (done["topics"], done["migrations"]) == ([], [])
    assert run("prepare", data=data) == (0, "", "everything is as it should be\n")

    alter(running_state(data).endpoints.kafka_bootstrap_servers)  # type: ignore[union-attr]
    differs = run("topics", "diff", "--json", data=data)
    assert (differs.code, [change["topic"] for change in differs.json]) == (5, ["agent.jobs"])
    assert run("topics", "apply", "--dry-run", data=data).code == 0
    assert run("topics", "diff", data=data).code == 5
    assert run("topics", "apply", data=data).code == 0
    assert run("topics", "diff", data=data).code == 0


def alter(servers: str) -> None:
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    entry = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "agent.jobs", incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def test_a_rebuild_under_up_stops_the_service_and_starts_it_again(run: Run, data: Path, some_run: str) -> None:
    before, pid = runs(data), service_pid(data, "persistence")
    options = ("--group", "persistence", "--to-earliest", "--empty-index", "--yes", "--json")
    report = run("replay", "rebuild", *options, data=data).json
    assert report["ok"], report
    assert report["records"] >= 3 * len(before)
    assert runs(data) == before
    eventually(lambda: run("status", data=data).code == 0, "the supervisor has heard that it has read everything")
    assert service_pid(data, "persistence") != pid
    assert [service.name for service in running_state(data).services if service.restarts] == []


def test_schemas_need_no_mesh(run: Run, tmp_path: Path) -> None:
    assert run("schemas", "check", "--json").json == []
    files = run("schemas", "export", str(tmp_path / "new"), "--json").json
    assert files
    assert all(Path(file).is_file() for file in files)
    missing = run("schemas", "check", str(tmp_path / "new"), "--json")
    assert missing.code == 5  # no released versions there
    assert missing.json


def test_crashes_down_up_and_ctrl_c(run: Run, data: Path, some_run: str) -> None:
    """In one test, since each step takes the mesh as the one before left it."""
    before = running_state(data)
    victims = {"reasoning": service_pid(data, "reasoning"), "kafka": part_pid(data, "kafka")}
    for pid in victims.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: service_pid(data, "reasoning") not in (None, victims["reasoning"]), "reasoning is started again")
    eventually(lambda: run("status", data=data).code == 0, "all is well again")
    after = running_state(data)
    assert [part.name for part in after.parts if part.restarts] == ["kafka"]
    assert [service.name for service in after.services if service.restarts] == ["reasoning"]
    assert "kafka: crashed (exit code -9)" in supervisor_log(data)
    assert "reasoning: restarting" in supervisor_log(data)

    known = {run["run_id"] for run in runs(data)}
    stopped = headrace("down", HEADRACE_DATA=str(data))
    assert (stopped.returncode, stopped.stdout) == (0, f"headrace on {data} is down; its data stays\n")
    assert wait_until_gone(data) == []

    with started("up", "--data", str(data), "--port", str(free_port())) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "headrace is up" in line:
                break
        assert {run["run_id"] for run in runs(data)} == known
        assert running_state(data).endpoints == before.endpoints
        assert ended(up, signal.SIGINT) == 0
    assert wait_until_gone(data) == []
    assert headrace("status", HEADRACE_DATA=str(data)).returncode == 3


def service_pid(data: Path, name: str) -> Any:
    return next(service.pid for service in running_state(data).services if service.name == name)


def part_pid(data: Path, name: str) -> Any:
    return next(part.pid for part in running_state(data).parts if part.name == name)
