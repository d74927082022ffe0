"""``headrace runs diff`` on real servers: a run and its fork, with the runs of their sub-agents."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from headrace.blobs.settings import open_blobs
from headrace.forks.edits import Edits
from headrace.forks.plan import Asked, planned
from headrace.messages import ids
from headrace.messages.job import Job
from headrace.messages.run import CallRequest
from headrace.settings import MeshSettings
from tests.reasoning.bench import VERDICT_SCHEMA, ScriptedModel, definition, text_reply
from tests.replay.command import CommandLine
from tests.replay.lives import LOW, Bench, Life, job, live
from tests.replay.mesh import environment
from tests.replay.stored import an_hour_ago, publish, store

AGENT = definition(tools=("execute_pipeline", "delegate_to_agent"))
HELPER = definition(name="helper", output_schema=VERDICT_SCHEMA)
HIGH = text_reply('{"risk": "high"}', latency_ms=20)


def asks(tool: str, **arguments: Any) -> Any:
    return text_reply(None, tool_calls=(CallRequest(id="", name=tool, arguments=arguments),))


LOOK = asks("execute_pipeline", q=1)
DELEGATE = asks("delegate_to_agent", agent_type="mesh_agent", inputs={"q": 2}, config={"agent": "helper"})


async def parent(bench: Bench, a_job: Job, said: str, *, at_ms: int) -> tuple[Life, str]:
    """A run that looks, then delegates, then answers; and the id of the sub-agent's run."""
    child = ids.child_job_id("default", a_job.job_id, 2, "call_2_1")
    return await live(bench, a_job, [{"agent": "helper", "run_id": child, "output": said}], at_ms=at_ms), child


async def test_a_fork_and_its_sub_agents_are_compared_with_what_they_left(
    settings: MeshSettings, pool: asyncpg.Pool, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    await publish(settings, AGENT, HELPER)
    blobs, then = open_blobs(settings, pool), an_hour_ago()

    def bench(*replies: Any) -> Bench:
        return Bench(ScriptedModel(*replies), AGENT, HELPER, blobs=blobs)

    async def helper(name: str, answer: Any) -> Life:
        return await live(bench(answer), Job(job_id=name, agent="helper", input={"q": 2}), at_ms=then)

    was, child = await parent(bench(LOOK, DELEGATE, LOW), job(job_id="was"), "low", at_ms=then)
    first = was.records[0][0]
    assert isinstance(first, Job)
    edits = Edits(tool_results={"call_1_1": was.records[2][0].results[0].content})  # type: ignore[attr-defined]
    made = planned(first, AGENT.version, [message for message, _ in was.records], Asked(1, edits)).job
    now, other = await parent(bench(DELEGATE, LOW), made, "low", at_ms=then)
    await store(settings, [was, now, await helper(child, LOW), await helper(other, HIGH)])

    found = json.loads((await cli("runs", "diff", "was", made.job_id, "--json", expect=5)).stdout)
    assert (found["shared_rows"], found["first"], found["same"]) == (2, None, False)
    assert found["right"]["forked_from"]["run_id"] == "was"
    [pair] = found["children"]
    assert (pair["step"], pair["left"], pair["right"]) == (2, child, other)
    assert pair["compared"]["first"]["difference"] == {"where": "/output/risk", "left": "low", "right": "high"}
    calls = [found[side][of]["model_calls"] for side in ("left", "right") for of in ("usage", "usage_with_sub_agents")]
    assert calls == [3, 4, 2, 3]

    shown = (await cli("runs", "diff", "was", made.job_id, expect=5)).stdout
    assert f"{made.job_id} is a fork of was at step 1" in shown
    assert "the same records up to step 1, tool_calls" in shown
    assert "differ from step 1, result on" in shown
    assert "nobody" in (await cli("runs", "diff", "was", "nobody", expect=4)).stderr
