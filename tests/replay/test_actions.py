"""Who replayed what: on record before it begins, and how it ended; the audit log shows it."""

from __future__ import annotations

import asyncio
import getpass
import json
import platform
from typing import Any

import pytest

from headrace.cli.who import who
from headrace.messages.replay import ReplayAction
from headrace.pipeline import STAGES
from headrace.replay.actions import on_record
from headrace.replay.start import OutOfRange
from headrace.settings import MeshSettings
from tests.replay.command import CommandLine
from tests.replay.mesh import environment, filled, runs, write
from tests.runtime.kafka import read_all


def told(settings: MeshSettings) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in read_all(settings, ReplayAction.TOPIC)]


async def test_who_replayed_what_is_on_record_and_in_the_audit_log(
    settings: MeshSettings, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert who() == f"cli:{getpass.getuser()}@{platform.node()}"
    await write(settings, runs(0, 2))
    async with on_record(settings, "shadow", "key-7", replay_id="mine", agent="triager", range="all") as done:
        [first] = await asyncio.to_thread(told, settings)
        done.records = 12
    assert (first["phase"], first["by"], first["replay_id"]) == ("begun", "key-7", "mine")
    with pytest.raises(OutOfRange):
        async with on_record(settings, "swap", "key-7"):
            raise OutOfRange("no")
    with pytest.raises(asyncio.CancelledError):
        async with on_record(settings, "drop", "key-7"):
            raise asyncio.CancelledError
    await cli("replay", "rebuild", "--group", "persistence", "--to-earliest", "--dry-run")
    await cli("replay", "rebuild", "--group", "persistence", "--to-earliest", "--run")

    records = await asyncio.to_thread(told, settings)
    assert [(one["kind"], one["phase"]) for one in records] == [
        *[("shadow", "begun"), ("shadow", "completed")],
        *[("swap", "begun"), ("swap", "failed")],
        *[("drop", "begun"), ("drop", "interrupted")],
        *[("rebuild", "begun"), ("rebuild", "completed")],
    ]
    assert len({one["action_id"] for one in records}) == 4
    assert (records[1]["records"], records[3]["error"], records[-1]["records"]) == (12, OutOfRange.cause, 10)
    assert (records[-1]["by"], records[-1]["service"], records[-1]["range"]) == (who(), "persistence", "to earliest")

    await filled(settings, STAGES["audit"])
    entries = json.loads((await cli("audit", "list", "--kind", "replay_acted", "--json")).stdout)
    assert [entry["status"] for entry in entries] == [f"{one['kind']}_{one['phase']}" for one in records]
    assert (entries[-1]["user_id"], entries[-1]["origin"], entries[-1]["service"]) == (
        who(),
        "to earliest",
        "persistence",
    )
    mine = json.loads((await cli("audit", "list", "--replay", "mine", "--json")).stdout)
    assert [entry["status"] for entry in mine] == ["shadow_begun", "shadow_completed"]
    assert who() in (await cli("audit", "list", "--kind", "replay_acted")).stdout
    assert "entries of what" in (await cli("audit", "list", expect=2)).stderr
