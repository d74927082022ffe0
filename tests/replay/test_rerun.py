"""``headrace replay run`` on real servers: from the index to the records, sealed reasoning, and what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.blobs.settings import open_blobs
from headrace.messages.agent import AgentDefinition
from headrace.runtime.api import Source
from headrace.runtime.meter import size_of
from headrace.runtime.pick import Picker
from headrace.settings import MeshSettings
from tests.reasoning.bench import text_reply
from tests.replay.command import CommandLine
from tests.replay.lives import AGENT, Bench, Life, job, live, with_tools
from tests.replay.mesh import environment
from tests.replay.stored import an_hour_ago, publish, store

LONG = {"rows": "r" * 5_000}  # too large for a record: a blob


@pytest.fixture
def mesh(settings: MeshSettings, monkeypatch: pytest.MonkeyPatch) -> MeshSettings:
    """The mesh that the environment names."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return settings


async def lives(settings: MeshSettings, pool: asyncpg.Pool, names: list[str]) -> list[Life]:
    """Runs of two and three stretches, their large contents in the mesh's own blob store."""
    found = []
    for number, name in enumerate(names):
        answer = text_reply('{"risk": "low", "note": "' + "n" * 2_000 + '"}')
        model = with_tools(*[{"q": "x" * 900, "n": turn} for turn in range(1 + number % 2)], last=answer)
        bench = Bench(model, AGENT, blobs=open_blobs(settings, pool))
        found.append(await live(bench, job(job_id=name, prompt="p" * 2_000), [LONG], at_ms=an_hour_ago()))
    return found


def written(definition: AgentDefinition, folder: Path) -> str:
    path = folder / "definition.json"
    path.write_text(json.dumps(definition.plain(defaults=False)))
    return str(path)


async def test_runs_are_run_again_from_their_records(
    mesh: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, tmp_path: Path
) -> None:
    await publish(mesh, AGENT)
    stored = await lives(mesh, pool, ["one", "two", "three", "touched", "half"])
    message, at = stored[3].records[-1]
    stored[3].records[-1] = message.replace(output={"risk": "high"}), at
    del stored[4].records[1]  # its tool calls were never there
    await store(mesh, stored)

    one = json.loads((await cli("replay", "run", "two", "--json")).stdout)
    assert (one["verdict"], one["records"], one["ended"]) == ("identical", 3, True)
    touched = json.loads((await cli("replay", "run", "touched", "--json", expect=5)).stdout)["divergence"]
    assert (touched["step"], touched["where"]) == (2, "/output/risk")
    assert (touched["recorded"], touched["now"]) == ("high", "low")
    assert touched["record"].startswith("agent.results/")
    assert "no run nobody" in (await cli("replay", "run", "nobody", expect=4)).stderr
    assert "is gone" in (await cli("replay", "run", "half", expect=1)).stderr
    assert "name one run" in (await cli("replay", "run", expect=2)).stderr

    every = await cli("replay", "run", "--all", "--json", expect=5)
    report: dict[str, Any] = json.loads(every.stdout)
    assert report["verdicts"] == {"broken": 1, "diverged": 1, "identical": 3}
    assert [rerun["run_id"] for rerun in report["diverged"]] == ["touched"]
    assert list(report["broken"]) == ["half"]
    assert report["bytes_read"] > 4_000
    nothing = json.loads((await cli("replay", "run", "--all", "--agent", "nobody", "--json")).stdout)
    assert (nothing["ok"], nothing["runs"]) == (True, 0)
    assert "0 runs" in (await cli("replay", "run", "--all", "--since", "2100-01-01")).stdout

    reworded = written(AGENT.replace(system_prompt="Look again."), tmp_path)
    shown = (await cli("replay", "run", "one", "--definition", reworded, expect=5)).stdout
    assert "/run/agent/definition_hash" in shown
    assert AGENT.definition_hash in shown

    await pool.execute("DELETE FROM blobs")
    assert "no such blob" in (await cli("replay", "run", "two", expect=1)).stderr
    assert json.loads((await cli("replay", "run", "--all", "--json")).stdout)["verdicts"] == {"broken": 5}


async def test_picking_finds_what_is_there_and_leaves_out_the_rest(mesh: MeshSettings) -> None:
    await publish(mesh, AGENT)
    await store(mesh, [Life(f"run-{number}", [(job(job_id=f"run-{number}"), an_hour_ago())]) for number in range(40)])
    async with Picker(mesh) as picker:
        everything = {Source("agent.jobs", partition, offset) for partition in range(6) for offset in range(100)}
        found = await picker.read(everything)
        assert len(found) == 40
        assert picker.bytes_read == sum(size_of(one.key, one.value, one.headers) for one in found.values())
        assert {place for place in found if found[place].offset != place.offset} == set()
        some = sorted(found)[::7]
        assert await picker.read(some) == {place: found[place] for place in some}
        assert await picker.read([]) == {}
