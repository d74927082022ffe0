"""Workflows on a whole mesh: real services as processes, a scripted model over HTTP, and processes that are killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.local.endpoints import Endpoints
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.runtime.kafka import produce, read_all
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace
from tests.workflows.support import task
from tests.workflows.test_api import FLIGHTS, SPEC

pytestmark = pytest.mark.xdist_group("workflows")
SERVICES = ("gateway", "ingest", "reasoning", "tools", "orchestration", "persistence")
CANARY = "hrk_planted-orchestrator-canary"

PATCH = {"name": "patch_workflow", "arguments": {"workflow_tag": "main", "patch_spec": SPEC}}
SCRIPT = Script.model_validate(
    {
        "rules": [
            {"match": {"turn": 0, "last_user": "email notification"}, "reply": {"tool_calls": [PATCH]}},
            {"match": {"turn": 1, "last_tool": "patch_id"}, "reply": {"text": "Done"}},
            {"match": {"last_user": "slow"}, "reply": {"text": "assessed", "latency_ms": 150}},
            {"match": {}, "reply": {"text": "noted"}},
        ]
    }
)


@pytest.fixture(scope="module")
def mesh(stack: Endpoints) -> Iterator[Mesh]:
    with Simulator(SCRIPT) as simulator, own_database(stack.database_url) as database_url:
        environment = {
            "HEADRACE_MODEL": "openai:gpt-4o",
            "OPENAI_API_KEY": "sk-planted",
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "HEADRACE_ORCHESTRATOR_API_KEY": CANARY,
        }
        namespace = unique_namespace()
        with running_mesh(stack, namespace, database_url, services=(), environment=environment) as running:
            url = f"http://127.0.0.1:{running.gateway_port}"
            running.environment |= {"HEADRACE_ORCHESTRATOR_API_URL": url, "HEADRACE_GATEWAY_URL": url}
            running.start(*SERVICES, wait=False, together=set(SERVICES) - {"orchestration"})
            for name in SERVICES:
                running.wait_ready(name)
            yield running


def create(mesh: Mesh, tag: str, nodes: list[dict[str, Any]], *edges: tuple[str, str], **more: Any) -> None:
    drawn = [{"from": source, "to": target} for source, target in edges]
    body = {"tag": tag, "owner": "sdutt", "nodes": nodes, "edges": drawn, **more}
    answer = mesh.gateway.post("/workflows", json=body)
    assert answer.status_code == 201, answer.text


def start(mesh: Mesh, tag: str, input_: Any = None, **more: Any) -> str:
    answer = mesh.gateway.post(f"/workflows/{tag}:run", json={"input": input_, **more})
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


def ended(mesh: Mesh, run_id: str, seconds: float = 60) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = mesh.gateway.get(f"/workflow-runs/{run_id}").json()
        return run if run.get("status") in ("completed", "failed", "cancelled") else None

    return until(look, seconds, f"workflow run {run_id} has ended")


def running(mesh: Mesh) -> bool:
    return bool(mesh.gateway.get("/workflow-runs?tag=fan&status=running&limit=1").json()["runs"])


def agent(id_: str, prompt: Any, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "agent", "config": {"prompt": prompt}, **more}


def test_prompt_2_of_the_protocol_patches_the_workflow_and_gives_a_patch_id(mesh: Mesh) -> None:
    """The job as version 1.0 writes it, the model scripted as the document expects."""
    assert mesh.gateway.post("/workflows", json=FLIGHTS).status_code == 201
    job = {
        "version": "1.0",
        "job_id": "550e8400-e29b-41d4-a716-446655440002",
        "run_id": "run-2024-002",
        "node_id": "agent_patch",
        "workflow_tag": "main",
        "workflow_owner": "sdutt",
        "user_id": "sdutt",
        "prompt": "add email notification whenever price drops below $500",
        "context": {"session_id": "test-123"},
        "timeout_sec": 300,
        "retry_count": 0,
        "created_at": "2024-10-12T10:30:00Z",
    }
    produce(mesh.settings, "agent.jobs", [("test-123", json.dumps(job).encode())])
    run = mesh.run(job["job_id"])
    assert (run["state"], run["outcome"]) == ("completed", "Done"), run
    [outcome] = json.loads(read_all(mesh.settings, "tool.results")[0].value)["results"]
    live = mesh.gateway.get("/workflows/main").json()
    assert outcome["content"]["patch_id"] == live["patch_id"]
    assert (live["version"], live["author"]) == (2, "sdutt")
    topics = ("agent.jobs", "tool.calls", "tool.results", "agent.results")
    assert not any(CANARY.encode() in record.value for topic in topics for record in read_all(mesh.settings, topic))
    assert not any(CANARY in mesh.log(name) for name in mesh.processes)


def test_agents_a_tool_a_condition_and_a_task_make_one_run(mesh: Mesh) -> None:
    """The tool is ``patch_workflow``, so the workflow changes itself, and its run goes on with the version that it began with."""
    again = [{"op": "add", "path": "/nodes/-", "value": task("more")}]
    arguments = {"workflow_tag": "mixed", "patch_spec": {"operations": again}}
    nodes = [
        agent("look", {"$expr": "input.question"}),
        {"id": "check", "type": "condition", "expr": "nodes.look.output == 'noted'"},
        {"id": "change", "type": "tool", "config": {"tool": "patch_workflow", "arguments": arguments}},
        task("mail", config={"action": "email", "about": {"$expr": "patch_id"}}),
    ]
    edges = [
        {"from": "look", "to": "check"},
        {"from": "check", "to": "change", "condition": "true"},
        {"from": "change", "to": "mail"},
    ]
    body = {"tag": "mixed", "owner": "me", "nodes": nodes, "edges": edges}
    assert mesh.gateway.post("/workflows", json=body).is_success
    run_id = start(mesh, "mixed", {"question": "What?"}, user_id="me")

    def asked() -> dict[str, Any] | None:
        signals = (json.loads(record.value) for record in read_all(mesh.settings, "workflow.signals"))
        return next((one["task"] for one in signals if one["kind"] == "task" and one["run_id"] == run_id), None)

    mail = until(asked, 30, "the task is asked for")
    assert mail["config"]["about"] == mesh.gateway.get("/workflows/mixed").json()["patch_id"]
    work = mesh.gateway.get(f"/workflow-runs/{run_id}").json()["nodes"]["change"]["work"]
    refused = mesh.gateway.post(f"/workflow-runs/{run_id}/tasks/{work[0]['work_id']}", json={})
    assert refused.json()["error"]["code"] == "unknown_task"
    answer = mesh.gateway.post(f"/workflow-runs/{run_id}/tasks/{mail['work_id']}", json={"output": {"sent": True}})
    assert answer.status_code == 202, answer.text
    run = ended(mesh, run_id)
    assert (run["status"], run["output"], run["version"]) == ("completed", {"sent": True}, 1)
    shown = mesh.cli("workflows", "runs", "show", run_id).stdout
    assert "mail" in shown
    assert "completed" in shown
    call = mesh.run(work[0]["work_id"])
    assert [record["kind"] for record in call["records"]] == ["job", "tool_calls", "tool_results", "result"]
    assert (call["workflow_run_id"], call["usage"]["model_calls"]) == (run_id, 0)
    page = mesh.gateway.get(f"http://127.0.0.1:{mesh.ops['orchestration']}/metrics").text
    measured = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[0] != "#"}
    assert measured['workflow_executions_total{status="completed"}'] >= 1
    assert measured["workflow_duration_seconds_count"] >= 1
    assert measured["workflow_duration_seconds_sum"] > 0


def test_an_event_and_a_timer_start_what_waits_for_them(mesh: Mesh) -> None:
    nodes = [{"id": "pause", "type": "timer", "config": {"seconds": 0.2}}, agent("say", "hello")]
    trigger = {"type": "whenever", "event": "price.dropped", "filter": "data.price < `500`"}
    create(mesh, "watch", nodes, ("pause", "say"), triggers=[trigger])
    sent = 0

    def begun() -> list[dict[str, Any]]:
        """Orchestration looks once a second for what has begun to listen, so the first events may pass it by."""
        nonlocal sent
        sent += 1
        for price in (501, 499):
            event = {
                "source": "shop",
                "event_type": "price.dropped",
                "id": f"{sent}-{price}",
                "payload": {"price": price},
            }
            assert mesh.gateway.post("/events", json=event).status_code == 202
        runs: list[dict[str, Any]] = mesh.gateway.get("/workflow-runs?tag=watch").json()["runs"]
        return runs

    run = ended(mesh, until(begun, 30, "a run has begun")[0]["run_id"])
    assert (run["status"], run["trigger"]) == ("completed", "event")
    every = [ended(mesh, one["run_id"]) for one in mesh.gateway.get("/workflow-runs?tag=watch").json()["runs"]]
    assert {one["input"]["data"]["price"] for one in every} == {499}


def test_the_commands_show_change_and_draw(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "drawn.yaml"
    trigger = 'triggers: [{type: schedule, cron: "0 12 1 JAN *", timezone: Europe/Zurich}]'
    file.write_text(f"tag: drawn\nowner: me\n{trigger}\nnodes: [{{id: a, type: task, config: {{action: x}}}}]\n")
    mesh.cli("workflows", "create", str(file))
    assert "-01-01T11:00:00+00:00" in mesh.cli("workflows", "show", "drawn").stderr
    file.write_text("[{op: add, path: /nodes/-, value: {id: b, type: timer, config: {seconds: 1}}}]")
    made = json.loads(mesh.cli("workflows", "patch", "drawn", str(file), "--owner", "me", "--json").stdout)
    assert made["version"] == 2
    assert "version 3" in mesh.cli("workflows", "rollback", "drawn", "1", "--owner", "me").stdout
    assert "another owner" in mesh.cli("workflows", "rollback", "drawn", "1", "--owner", "eve", expect=1).stderr
    assert [v["version"] for v in json.loads(mesh.cli("workflows", "history", "drawn", "--json").stdout)] == [3, 2, 1]
    assert "timer" in mesh.cli("workflows", "graph", "drawn", "--version", "2").stdout
    assert mesh.cli("workflows", "graph", "drawn", "--format", "svg").stdout.startswith("<svg")
    mesh.cli("workflows", "show", "nothing", expect=4)


def test_fan_out_and_join_are_exactly_once_while_orchestration_is_killed(mesh: Mesh) -> None:
    """Each job is in the log once, and each join made its one job, however often the process died between."""
    runs, items = 12, 6
    body = {"type": "agent", "config": {"prompt": {"$expr": "item"}}}
    fan = {"id": "fan", "type": "map", "config": {"items": "input", "body": body, "parallel": 4}}
    nodes = [agent("first", "slow"), fan, agent("side", "slow"), agent("last", "slow")]
    create(mesh, "fan", nodes, ("first", "fan"), ("first", "side"), ("fan", "last"), ("side", "last"))
    ids = [start(mesh, "fan", [f"slow {number}" for number in range(items)]) for _ in range(runs)]
    until(lambda: running(mesh), 30, "they have begun")
    kills = 0
    while kills < 3 and running(mesh):
        mesh.kill("orchestration")
        mesh.start("orchestration")
        kills += 1
    assert kills, "all were done before the first kill"
    assert {ended(mesh, run_id, 90)["status"] for run_id in ids} == {"completed"}
    jobs = [json.loads(record.value) for record in read_all(mesh.settings, "agent.jobs")]
    mine = Counter((job["run_id"], job["node_id"]) for job in jobs if job.get("run_id") in ids)
    expected = {
        (run_id, node): items if node == "fan" else 1 for run_id in ids for node in ("first", "fan", "side", "last")
    }
    assert mine == expected
