"""The demo from end to end, and what is left of it however it ends: nothing."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.cli.support import ended, headrace, room, started, wait_for_line
from tests.stack.probes import processes_of, wait_until_gone
from tests.support.ports import free_port

pytestmark = pytest.mark.xdist_group("cli")


def test_the_demo_shows_every_run_and_leaves_nothing() -> None:
    with room() as folder:
        done = headrace("demo", "--data", str(folder / "none"), TMPDIR=str(folder))

        assert done.returncode == 0, done.stderr
        assert wait_until_gone(folder) == []
        assert list(folder.iterdir()) == []
    assert done.stdout.count("✓") == 27
    assert "27 runs, each once" in done.stdout
    assert "offline is a set of rules for trying the mesh, not a language model" in " ".join(done.stdout.split())
    assert "nothing is left running" in done.stdout
    audited = re.search(
        r"audit: (\d+) entries, .* in (\d+) hash chains; verified, all whole", " ".join(done.stdout.split())
    )
    assert audited
    assert int(audited[1]) > 4 * 25  # at the least: raw, event, job and result of each
    by_agent = re.findall(r"^│ ([a-z-]+) +│ +(\d+) │ +0 │", done.stdout, re.MULTILINE)
    assert sum(int(runs) for _, runs in by_agent) == 27


def test_the_demo_of_a_replay_accounts_for_its_events_and_leaves_nothing() -> None:
    with room() as folder:
        done = headrace("replay", "demo", "--events", "60", "--out", str(folder / "report"), TMPDIR=str(folder))

        assert done.returncode == 0, done.stderr
        assert wait_until_gone(folder) == []
        report = json.loads((folder / "report/demo.json").read_text())
        assert [path.name for path in folder.iterdir()] == ["report"]
    assert (report["account"]["records"], report["account"]["replayed"], report["account"]["complete"]) == (
        60,
        60,
        True,
    )
    moved = {(one["live"], one["shadow"]) for one in report["transitions"]}
    assert {("support", "finance"), ("support", "on_call"), ("support", "self_service")} < moved
    assert ("self_service", "self_service") in moved
    assert sum(one["count"] for one in report["transitions"] if one["live"] == "(no live run)") == 7
    assert report["baseline"]["outcome"]["value"] == 1
    assert "live    53 runs in" in done.stdout
    assert re.search(r"shadow  6\d runs in .* runs/s", done.stdout)
    assert "MB of records" in done.stdout
    assert re.search(r"5\d runs: 5\d identical", done.stdout), "and all were run again"
    assert f"the report: {folder / 'report/demo.html'}" in done.stdout


def test_a_demo_that_is_interrupted_while_it_starts_leaves_nothing() -> None:
    with room() as folder:
        with started("demo", "--data", str(folder / "none"), TMPDIR=str(folder)) as demo:
            wait_for_line(demo, "kafka: starting")
            assert processes_of(folder)
            assert ended(demo, signal.SIGINT) == 130

        assert wait_until_gone(folder) == []
        assert list(folder.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_mesh_along() -> None:
    with room() as folder:
        with started("demo", "--data", str(folder / "none"), TMPDIR=str(folder)) as demo:
            assert demo.stdout is not None
            assert any("the mesh is up" in line for line in demo.stdout)
            assert processes_of(folder)
            assert ended(demo, signal.SIGKILL) == -signal.SIGKILL

        assert wait_until_gone(folder) == []


def test_a_detached_up_that_is_terminated_leaves_nothing_running() -> None:
    with room() as folder:
        with started("up", "--detach", "--data", str(folder / "mesh"), "--port", str(free_port())) as up:
            wait_for_line(up, "kafka: starting")
            assert ended(up, signal.SIGTERM) == 130

        assert wait_until_gone(folder) == []
        assert not (folder / "mesh" / "state.json").exists()
