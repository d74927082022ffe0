"""Versions made live for some keys, for all, and taken back, on a running mesh; and many who do so at once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from headrace.cli.app import run
from headrace.client import AsyncClient, Client, Conflict, InvalidRequest, NotFound
from headrace.local.endpoints import Endpoints
from headrace.messages.ids import event_uid
from headrace.registry.canary import gets
from headrace.registry.pointer import CantChange
from headrace.registry.promote import by, promote
from headrace.registry.read import read_catalog
from tests.audit.mesh import entries
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("flow_promotion")
AGENT = """
name: guinea
version: VERSION
category: test
description: Says something.
system_prompt: Say something.
model: offline
triggers: [{source: farm, type: TYPE}]
"""
SERVICES = ("gateway", "ingest", "reasoning", "persistence", "audit")


@pytest.fixture(scope="module")
def mesh(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """1.0.0 of the agent is live, and 2.0.0 and 3.0.0 are published; those also look at events of a type of their own."""
    folder = tmp_path_factory.mktemp("agents")
    with (
        own_database(stack.database_url) as database,
        running_mesh(stack, unique_namespace(), database, services=SERVICES, apart=()) as mesh,
    ):
        first, *others = [folder / f"{version}.yaml" for version in ("1.0.0", "2.0.0", "3.0.0")]
        for file in (first, *others):
            file.write_text(AGENT.replace("VERSION", file.stem).replace("TYPE", "fed" if file == first else '"*"'))
        mesh.publish(first)
        mesh.publish(*others, live=False)
        yield mesh


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{mesh.gateway_port}") as made:
        yield made


class Command:
    """The command line on the mesh, within the test's own process: a start of Python costs more than what it does."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, expect: int = 0) -> tuple[str, str]:
        """What it wrote to stdout and stderr."""
        self._capsys.readouterr()
        code = run(arguments)
        written = self._capsys.readouterr()
        assert code == expect, f"{arguments}: {code}\n{written.out}\n{written.err}"
        return written.out, written.err


@pytest.fixture
def command(mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    for name, value in mesh.environment.items():
        monkeypatch.setenv(name, value)
    return Command(capsys)


def key_of(version: str, percent: float, *, canary: bool) -> str:
    """A key that the canary gets, or does not."""
    return next(key for number in range(10_000) if gets("guinea", version, percent, key := f"k-{number}") == canary)


def fed(mesh: Mesh, *keys: str, kind: str = "fed", made: Collection[str] | None = None) -> dict[str, str]:
    """An event of each key; which version its run took, by key. ``made``: the keys whose events make a run, if not all do."""
    mark = uuid.uuid4().hex[:8]
    of = {_sent(mesh, f"{mark}-{key}", key, kind): key for key in keys}
    last = _sent(mesh, f"{mark}-last", "last", "fed")

    def settled() -> dict[str, str] | None:
        runs = [run for run in mesh.runs(agent="guinea") if run["state"] == "completed"]
        found = {run["event_uid"]: run["agent_version"] for run in runs}
        waited = {uid for uid, key in of.items() if made is None or key in made} | {last}
        return {key: found[uid] for uid, key in of.items() if uid in found} if waited <= found.keys() else None

    return until(settled, 30, "the events' runs are finished")


def _sent(mesh: Mesh, name: str, key: str, kind: str) -> str:
    """The uid of an event that was accepted."""
    body = {"source": "farm", "event_type": kind, "id": name, "partition_key": key, "payload": {}}
    assert mesh.gateway.post("/events", json=body).status_code == 202
    return event_uid("default", "farm", name)


def known(mesh: Mesh, key: str, version: str) -> None:
    """Wait until ingest gives ``key`` that version."""
    until(lambda: fed(mesh, key)[key] == version, 30, f"{version} is known")


def versions_of(client: Client, sessions: list[str]) -> list[str]:
    ended = [client.run("guinea", prompt="Say it", session_id=session) for session in sessions]
    return [str(client.get(one.run_id).agent_version) for one in ended]


def test_a_canary_gets_its_keys_and_sessions_and_a_rollback_takes_them_back(
    mesh: Mesh, client: Client, command: Command
) -> None:
    made = client.promote("guinea", "2.0.0", canary_percent=40, reason="looks good")
    assert (made.live_version, made.canary) == ("1.0.0", {"version": "2.0.0", "percent": 40.0})
    known(mesh, key_of("2.0.0", 40, canary=True), "2.0.0")
    listed = {one["name"]: one for one in json.loads(command("agents", "list", "--json")[0])}
    assert listed["guinea"]["canary"] == {"version": "2.0.0", "percent": 40.0}
    assert "canary 2.0.0 for 40 % of the keys" in command("agents", "show", "guinea")[1]
    assert mesh.gateway.get("/v1/agents/guinea").json()["live"]["changed_by"] == "unauthenticated"

    keys = [f"farm/{number}" for number in range(30)]
    chosen = {key: "2.0.0" if gets("guinea", "2.0.0", 40, key) else "1.0.0" for key in keys}
    assert fed(mesh, *keys) == chosen
    assert len(set(chosen.values())) == 2
    gotten = {key for key in keys[:10] if chosen[key] == "2.0.0"}
    assert set(fed(mesh, *keys[:10], kind="watered", made=gotten)) == gotten, "a trigger of the canary alone"

    sessions = [f"session-{number}" for number in range(6)]
    expected = ["2.0.0" if gets("guinea", "2.0.0", 40, name) else "1.0.0" for name in sessions]
    assert len(set(expected)) == 2
    assert versions_of(client, sessions) == expected
    client.promote("guinea", "2.0.0", canary_percent=60)
    moved = next(key for key in keys if chosen[key] == "1.0.0" and gets("guinea", "2.0.0", 60, key))
    known(mesh, moved, "2.0.0")
    kept = [name for name, version in zip(sessions, expected, strict=True) if version == "2.0.0"]
    assert set(versions_of(client, kept)) == {"2.0.0"}, "a canary that grows takes no session back"

    back = json.loads(command("agents", "rollback", "guinea", "--reason", "no", "--json")[0])
    assert (back["live_version"], back["canary"], back["replaced"]) == ("1.0.0", None, "2.0.0")
    known(mesh, moved, "1.0.0")
    assert set(fed(mesh, *keys).values()) == {"1.0.0"}
    rerun = json.loads(command("replay", "run", "--all", "--agent", "guinea", "--json")[0])
    assert set(rerun["verdicts"]) == {"identical"}, "whoever is live today, a run is what its version was"
    assert rerun["runs"] > 60


def test_versions_are_told_apart_in_metrics_and_audit(mesh: Mesh, client: Client) -> None:
    made = client.promote("guinea", "3.0.0")
    assert (made.live_version, made.replaced) == ("3.0.0", "1.0.0")
    known(mesh, "k", "3.0.0")
    back = client.rollback("guinea")
    assert back.live_version == "1.0.0"
    known(mesh, "k", "1.0.0")
    page = mesh.gateway.get(f"http://127.0.0.1:{mesh.ops['reasoning']}/metrics").text
    for version in ("1.0.0", "3.0.0"):
        label = f'agent_name="guinea",agent_version="{version}",status="completed"'
        assert f"headrace_agent_version_runs_total{{{label}}}" in page
    with pytest.raises(Conflict):
        client.promote("guinea", "2.0.0", base_revision=back.revision - 1)

    def chained() -> list[Any] | None:
        found = [one for one in asyncio.run(entries(mesh.settings)) if one.agent_name == "guinea"]
        found = [one for one in found if one.kind == "agent_published"]
        return found if any(one.origin == "3.0.0" for one in found) else None

    told = [(one.status, one.origin, one.agent_version) for one in until(chained, 30, "audit has it")]
    assert ("live", "1.0.0", "3.0.0") in told
    assert told[-1] == ("rolled_back", "3.0.0", "1.0.0")


def test_what_can_t_be_made_of_what_is_there_changes_nothing(mesh: Mesh, client: Client, command: Command) -> None:
    before = mesh.gateway.get("/v1/agents/guinea").json()["live"]
    with pytest.raises(NotFound):
        client.promote("nobody", "1.0.0")
    with pytest.raises(InvalidRequest):
        client.promote("guinea", "9.9.9")
    with pytest.raises(Conflict):
        client.promote("guinea", "1.0.0", canary_percent=5)
    assert mesh.gateway.post("/v1/agents/guinea:promote", json={"version": "2.0.0", "canary_percent": 100}).is_error
    assert "no version 9.9.9" in command("agents", "promote", "guinea", "9.9.9", expect=4)[1]
    assert "nothing is known" in command("agents", "rollback", "release-note-drafter", expect=1)[1]
    assert mesh.gateway.get("/v1/agents/guinea").json()["live"] == before


async def test_of_many_at_once_each_is_counted_and_none_is_lost(mesh: Mesh) -> None:
    there = (await read_catalog(mesh.settings)).pointer("guinea")
    assert there is not None
    percents = [10.0, 20.0, 30.0, 40.0]
    made = await asyncio.gather(
        *(promote(mesh.settings, "guinea", "2.0.0", by("test"), percent=one) for one in percents)
    )
    revisions = sorted(one.revision for one in made)
    assert revisions == [there.revision + 1 + number for number in range(len(percents))]
    told = await asyncio.gather(
        *(promote(mesh.settings, "guinea", "3.0.0", by("test"), base=revisions[-1]) for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, CantChange) for one in told) == [False, True], "both had seen the same"
    async with AsyncClient(f"http://127.0.0.1:{mesh.gateway_port}") as client:
        assert (await client.promote("guinea", "2.0.0")).live_version == "2.0.0"
        assert (await client.rollback("guinea")).live_version == "3.0.0"
