"""How far back replays reach is said by what each of them reads."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from headrace.history.horizon import READS, Reach, horizons
from headrace.settings import MeshSettings
from tests.replay.command import CommandLine
from tests.replay.lives import Life, job
from tests.replay.mesh import environment
from tests.replay.stored import an_hour_ago, produce

DAY = 86_400_000
TOPICS = {topic for topics in READS.values() for topic in topics}


def reaches(**changes: Reach) -> dict[str, Reach]:
    whole = {topic: Reach(topic, 30 * DAY, 100 * DAY, cut=False) for topic in TOPICS}
    return whole | {change.topic: change for change in changes.values()}


def test_the_shortest_reach_counts_where_something_is_gone() -> None:
    found = {one.kind: one for one in horizons(reaches())}
    assert {one.since_ms for one in found.values()} == {None}
    assert {one.next_cut_ms for one in found.values()} == {130 * DAY}

    cut = reaches(
        events=Reach("ingest.events", 10 * DAY, 120 * DAY, cut=True),
        calls=Reach("tool.calls", 30 * DAY, 110 * DAY, cut=True),
        results=Reach("agent.results", -1, 90 * DAY, cut=False),
    )
    found = {one.kind: one for one in horizons(cut)}
    assert (found["shadow"].since_ms, found["shadow"].topic) == (120 * DAY, "ingest.events")
    assert (found["re-run"].since_ms, found["re-run"].topic) == (110 * DAY, "tool.calls")
    assert found["shadow"].next_cut_ms == 130 * DAY

    assert [found["shadow"].reaches(datetime.fromtimestamp(day * 86_400, UTC)) for day in (119, 120, 121)] == [
        False,
        True,
        True,
    ]
    assert found["rebuild"].reaches(datetime.fromtimestamp(0, UTC)) is False

    empty = {topic: Reach(topic, -1, None, cut=False) for topic in TOPICS}
    assert {(one.since_ms, one.next_cut_ms) for one in horizons(empty)} == {(None, None)}


async def test_the_command_warns_before_something_goes(
    settings: MeshSettings, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    life = Life("run", [(job(job_id="run"), an_hour_ago())])
    await produce(settings, life.records)
    quiet = await cli("replay", "horizon", "--json")
    kinds = {one["kind"]: one for one in json.loads(quiet.stdout)["kinds"]}
    assert kinds["re-run"]["next_cut_ms"] == life.records[0][1] + 30 * DAY
    assert kinds["shadow"]["next_cut_ms"] is None
    assert quiet.stderr == ""
    warned = await cli("replay", "horizon", "--warn", "31")
    assert "re-run: retention deletes records that it reads in 30.0 days" in warned.stderr
    assert "the beginning" in warned.stdout
    assert "no ended runs" in warned.stderr
    assert re.search(r"^agent.definitions +forever", warned.stdout, re.MULTILINE)
    assert re.search(r"^blobs +forever", warned.stdout, re.MULTILINE)

    ranged = json.loads((await cli("replay", "horizon", "--since", "7d", "--until", "1d", "--json")).stdout)
    assert {one["kind"]: one["whole"] for one in ranged["kinds"]} == {"re-run": True, "shadow": True, "rebuild": True}
    assert ranged["blobs"]["retention_ms"] == -1
    await cli("replay", "horizon", "--until", "1d", expect=2)
    await cli("replay", "horizon", "--agent", "nobody", expect=4)
