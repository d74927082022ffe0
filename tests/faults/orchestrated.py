"""What the pipeline's load asks of orchestration: sub-agents, approvals that nobody gives, workflows that fan out and join; and
what has to have come of it. Every kind of event leads to a number of runs that is known before.

That a wait went on once, and a join led on once, shows in the records: what follows from it is there, and no record twice.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import asyncpg
import orjson

from headrace.messages import headers
from tests.runtime.kafka import Seen, read_all
from tests.support.mesh import Mesh, until

RESULTS: Final = {"happened": 1, "delegated": 3, "approved": 1, "joined": 5}  # runs that an event of the kind leads to
CYCLE: Final = ("happened", "delegated", "happened", "approved", "happened", "joined", "happened", "happened")
PARTS: Final = 3  # items of a workflow's map
ALIKE: Final = "alike"  # the rule for runs whose prompts are the same in every family: they can't be told apart

_AGENTS: Final = {
    "faults-lead": "You delegate.\ntools: [delegate_to_agent]\ndelegation: {agents: [faults-sub]}\n"
    "triggers: [{type: faults.delegated}]",
    "faults-payer": "You pay.\ntools: [execute_pipeline]\nhttp_domains: ['127.0.0.1']\napprovals: {timeout_s: 0.5}\n"
    "triggers: [{type: faults.approved}]",
    "faults-sub": "You are a sub-agent.",
    "faults-part": "You answer for a part.",
    "faults-last": "You answer last.",
}
_JOB: Final = {"type": "agent", "config": {"agent": "faults-part", "prompt": {"$expr": "item"}}}
_WORKFLOW: Final[dict[str, Any]] = {
    "tag": "faults",
    "owner": "faults",
    "triggers": [{"type": "whenever", "source": "faults", "event": "faults.joined"}],
    "nodes": [
        {"id": "each", "type": "map", "config": {"items": "input.data.parts", "body": _JOB}},
        {"id": "one", "type": "agent", "config": {"agent": "faults-part", "prompt": {"$expr": "input.data.name"}}},
        {"id": "both", "type": "join"},
        {"id": "last", "type": "agent", "config": {"agent": "faults-last", "prompt": {"$expr": "input.data.name"}}},
    ],
    "edges": [{"from": "each", "to": "both"}, {"from": "one", "to": "both"}, {"from": "both", "to": "last"}],
}
_ONCE: Final = ("agent.jobs", "run.waits", "tool.calls", "tool.results", "agent.results")
_STANDING: Final = """
SELECT (SELECT count(*) FROM waits) AS waits, (SELECT count(*) FROM waits WHERE closed_by IS NULL) AS open_waits,
    (SELECT count(*) FROM wait_calls WHERE settled_by IS NULL) AS pending,
    (SELECT count(*) FROM workflow_runs) AS workflows, (SELECT count(*) FROM workflow_runs WHERE status = 'completed') AS completed
"""


def definitions(model: str) -> dict[str, str]:
    """The agents' files by name."""
    head = "version: 1.0.0\ncategory: test\ndescription: Waits.\nmodel: "
    return {name: f"name: {name}\n{head}{model}\nsystem_prompt: {rest}\n" for name, rest in _AGENTS.items()}


def rules() -> list[dict[str, Any]]:
    """What the models of these agents say; the one who pays calls the tool that all others call."""
    call = {"agent_type": "mesh_agent", "config": {"agent": "faults-sub"}}
    calls = [{"name": "delegate_to_agent", "arguments": {**call, "inputs": {"n": n}}} for n in range(2)]
    return [
        {"name": ALIKE, "match": {"system": "You are a sub-agent."}, "reply": {"text": "helped"}},
        {"match": {"system": "You answer"}, "reply": {"text": "answered"}},
        {"match": {"system": "You delegate.", "turn": 0}, "reply": {"tool_calls": calls}},
    ]


def payload(name: str) -> dict[str, Any]:
    """Of an event: prompts of its workflow are made of it, so that each model call can be told from every other."""
    return {"name": name, "parts": [f"{name}, part {number}" for number in range(PARTS)]}


def store_workflow(mesh: Mesh) -> None:
    """As soon as the gateway knows its agents."""
    until(
        lambda: mesh.gateway.post("/workflows", json=_WORKFLOW).status_code in (201, 409), 30, "the workflow is stored"
    )


def broken(mesh: Mesh, standing: dict[str, int], kinds: Counter[str]) -> list[tuple[str, object]]:
    """What does not hold; ``standing`` as ``stands`` reads it, ``kinds`` counts the acknowledged events."""
    parked, joined = kinds["delegated"] + kinds["approved"], kinds["joined"]
    found: list[tuple[str, object]] = []
    if standing != {"waits": parked, "open_waits": 0, "pending": 0, "workflows": joined, "completed": joined}:
        found.append((f"invariant 1: {parked} waits that went on, and {joined} workflows that completed", standing))
    records = {topic: read_all(mesh.settings, topic) for topic in _ONCE}
    for topic, seen in records.items():
        if twice := [name for name, count in Counter(map(_identity, seen)).items() if count > 1]:
            found.append((f"invariant 2: records of {topic} that are there again", twice[:3]))
    waiting, gone_on = (Counter(one.key for one in records[topic]) for topic in ("run.waits", "tool.results"))
    if lost := [run for run in waiting if gone_on[run] != 1]:
        found.append(("invariant 1: runs that waited and did not go on once", lost[:3]))
    lasts = Counter(one.key for one in records["agent.results"] if _agent(one) == "faults-last")
    if lasts.total() != joined or len(lasts) != joined:
        found.append((f"invariant 1: {joined} joins that led on once", lasts.total()))
    return found


async def stands(database_url: str) -> dict[str, int]:
    connection = await asyncpg.connect(database_url)
    try:
        return dict(await connection.fetchrow(_STANDING))
    finally:
        await connection.close()


def _identity(record: Seen) -> str:
    """The message's own id; of a job that a stranger may have written, its job id."""
    return record.headers.get(headers.ID) or str(orjson.loads(record.value)["job_id"])


def _agent(record: Seen) -> str | None:
    return record.headers.get(headers.AGENT)
