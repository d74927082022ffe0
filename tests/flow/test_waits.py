"""Runs that wait, on real servers and processes: approvals, sub-agents, cancelling, and all of it while services are killed."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.local.endpoints import Endpoints
from headrace.pipeline import STAGES
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.kubejobs.api import ApiServer, serving_cluster
from tests.runtime.kafka import read_all
from tests.support.json_server import JsonServer, json_server
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("waits")
SERVICES = ("gateway", "reasoning", "tools", "orchestration", "persistence")
KILLED = ("orchestration", "tools", "reasoning")
RUNS = 16
AGENTS = {
    "payer": "tools: [execute_pipeline]\nhttp_domains: ['127.0.0.1']\napprovals: {tools: [execute_pipeline]}",
    "hasty": "tools: [execute_pipeline]\nhttp_domains: ['127.0.0.1']\napprovals: {timeout_s: 0.5}",
    "helper": "tools: []",
    "boss": "tools: [delegate_to_agent]\ndelegation: {agents: [helper]}",
    "coder": "tools: [delegate_to_agent]",
    "chief": "tools: [delegate_to_agent]\ndelegation: {agents: [payer]}",
    "exporter": "tools: [export_orders]\nhttp_domains: ['127.0.0.1']",
}


def paying(till: JsonServer, path: str) -> dict[str, Any]:
    pipeline = [{"step": "http_request", "url": f"http://{till.address}{path}"}]
    return {"session_id": "s", "pipeline": pipeline}


def script(till: JsonServer) -> Script:
    def delegate(agent: str, count: int) -> list[dict[str, Any]]:
        return [
            {
                "name": "delegate_to_agent",
                "arguments": {"agent_type": "mesh_agent", "inputs": {"n": n}, "config": {"agent": agent}},
            }
            for n in range(count)
        ]

    code = {"agent_type": "code_interpreter", "inputs": {"code": "print(42)"}}
    pay = {"tool_calls": [{"name": "execute_pipeline", "arguments": paying(till, "/as-asked")}]}
    rules: list[dict[str, Any]] = [
        *({"match": {"system": f"You are {who}.", "turn": 0}, "reply": pay} for who in ("payer", "hasty")),
        {"match": {"system": "You are boss.", "turn": 0}, "reply": {"tool_calls": delegate("helper", 2)}},
        {"match": {"system": "You are chief.", "turn": 0}, "reply": {"tool_calls": delegate("payer", 1)}},
        {
            "match": {"system": "You are coder.", "turn": 0},
            "reply": {"tool_calls": [{"name": "delegate_to_agent", "arguments": code}]},
        },
        {
            "match": {"system": "You are exporter.", "turn": 0},
            "reply": {"tool_calls": [{"name": "export_orders", "arguments": {"month": "2026-11"}}]},
        },
        {"match": {"last_tool": "s3://reports"}, "reply": {"text": "exported"}},
        {"match": {"last_tool": "denied"}, "reply": {"text": "it was denied"}},
        {"match": {"system": "You are payer 2.", "turn": 1}, "reply": {"text": "paid by the second"}},
        {"match": {"system": "You are helper."}, "reply": {"text": "helped"}},
        {"match": {"turn": 1}, "reply": {"text": "all done"}},
    ]
    return Script.model_validate({"rules": rules})


@pytest.fixture(scope="module")
def till() -> Iterator[JsonServer]:
    """A server that takes payments, and remembers them."""
    with json_server([{"ok": True}]) as till:
        yield till


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster") / "kubeconfig"


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path) -> Iterator[ApiServer]:
    api = ApiServer()
    with serving_cluster(api, kubeconfig):
        yield api


@pytest.fixture(scope="module")
def mesh(
    stack: Endpoints, till: JsonServer, cluster: ApiServer, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("agents")
    with Simulator(script(till)) as simulator, own_database(stack.database_url) as database_url:
        environment = {
            "OPENAI_API_KEY": "sk-planted-key-000",
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "HEADRACE_EGRESS_ALLOW_PRIVATE": till.address,
            "HEADRACE_ORCHESTRATION_SWEEP_SECONDS": "0.2",
            "HEADRACE_KUBE_CLUSTER": "kubeconfig",
            "HEADRACE_KUBE_CODE_INTERPRETER_IMAGE": "registry.example.org/agents/python:1",
            "KUBECONFIG": str(kubeconfig),
            "HEADRACE_CALLBACK_TOOLS": str(directory / "callbacks.yaml"),
            "HEADRACE_CALLBACK_URL": "http://gateway.example",
            "HEADRACE_CALLBACK_SECRET": "planted-secret-of-callbacks-0123456789",
        }
        export = {"description": "Exports the orders of a month.", "url": f"{till.url}/jobs"}
        (directory / "callbacks.yaml").write_text(json.dumps({"tools": {"export_orders": export}}))
        with running_mesh(
            stack, unique_namespace(), database_url, services=SERVICES, apart=KILLED, environment=environment
        ) as running:
            running.environment["HEADRACE_GATEWAY_URL"] = f"http://127.0.0.1:{running.gateway_port}"
            for name, rest in AGENTS.items():
                path = directory / f"{name}.yaml"
                head = f"name: {name}\nversion: 1.0.0\ncategory: test\ndescription: Waits.\nmodel: openai:gpt-4o\n"
                path.write_text(f"{head}system_prompt: You are {name}.\n{rest}\n")
            with pytest.MonkeyPatch.context() as here:
                here.setenv("HEADRACE_CALLBACK_TOOLS", environment["HEADRACE_CALLBACK_TOOLS"])
                running.publish(*(directory / f"{name}.yaml" for name in AGENTS))
            second = directory / "second.yaml"  # asks for nobody's yes
            text = (
                (directory / "payer.yaml")
                .read_text()
                .replace("1.0.0", "2.0.0")
                .replace("You are payer.", "You are payer 2.")
            )
            second.write_text(text[: text.index("approvals:")])
            running.publish(second, live=False)
            yield running


def start(mesh: Mesh, agent: str) -> str:
    def started() -> str | None:
        answer = mesh.gateway.post("/v1/runs", json={"agent": agent, "prompt": "Go."})
        return str(answer.json()["run_id"]) if answer.status_code == 202 else None  # the gateway may not know it yet

    return until(started, 20, f"a run of {agent} is taken")


def waiting(mesh: Mesh, run_id: str) -> dict[str, Any]:
    """The approval that the run waits for."""

    def listed() -> dict[str, Any] | None:
        page = mesh.gateway.get("/v1/approvals", params={"state": "pending", "limit": 200}).json()
        return next((one for one in page["approvals"] if one["run_id"] == run_id), None)

    return until(listed, 30, f"{run_id} waits for an approval")


def kinds(run: dict[str, Any]) -> list[str]:
    return [record["kind"] for record in run["records"]]


def test_an_approved_call_is_made_with_the_arguments_of_whoever_approved(
    mesh: Mesh, till: JsonServer, tmp_path: Path
) -> None:
    run_id = start(mesh, "payer")
    approval = waiting(mesh, run_id)
    assert till.asked == []
    shown = json.loads(mesh.cli("approvals", "show", approval["id"], "--json").stdout)
    assert shown["arguments"] == paying(till, "/as-asked")
    listed = json.loads(mesh.cli("approvals", "list", "--json").stdout)["approvals"]
    assert approval["id"] in [one["id"] for one in listed]
    other = mesh.gateway.post(
        f"/v1/approvals/{approval['id']}/decision", json={"verdict": "approve", "arguments_hash": "0" * 64}
    )
    assert (other.status_code, other.json()["error"]["code"]) == (409, "arguments_changed")
    edited = tmp_path / "edited.json"
    edited.write_text('{"amount": 1}')
    mesh.cli("approvals", "approve", approval["id"], "--edit", str(edited), expect=2)
    edited.write_text(json.dumps(paying(till, "/edited")))
    decided = json.loads(mesh.cli("approvals", "approve", approval["id"], "--edit", str(edited), "--json").stdout)
    assert (decided["state"], decided["decided_by"]) == ("approved", "unauthenticated")
    run = mesh.run(run_id)
    assert (run["state"], run["outcome"]) == ("completed", "all done"), run
    assert till.asked == ["GET /edited"]
    shown = json.loads(mesh.cli("approvals", "show", approval["id"], "--json").stdout)
    assert (shown["arguments"], shown["approved_with"]) == (paying(till, "/as-asked"), paying(till, "/edited"))
    assert Counter(kinds(run)) == Counter(["job", "tool_calls", "wait", "tool_calls", "tool_results", "result"])
    assert run["tool_calls"] == 1
    mesh.cli("approvals", "deny", approval["id"], expect=1)
    mesh.cli("approvals", "show", "6f1d8f2c", expect=4)
    stream = mesh.gateway.get(f"/v1/runs/{run_id}/events", headers={"accept": "text/event-stream"}).text
    events = [line.split(": ")[1] for line in stream.splitlines() if line.startswith("event:")]
    assert events == ["job", "tool_calls", "wait", "tool_calls", "tool_results", "result"]


def test_a_service_is_called_and_reports_the_outcome(mesh: Mesh, till: JsonServer) -> None:
    run_id = start(mesh, "exporter")
    until(lambda: till.asked[-1:] == ["POST /jobs"], 30, "the service has the call")
    where = till.headers["headrace-callback-url"].removeprefix("http://gateway.example")
    credential = {"authorization": f"Bearer {till.headers['headrace-callback-token']}"}

    def reported() -> bool:
        answer = mesh.gateway.post(where, json={"content": {"where": "s3://reports"}}, headers=credential)
        assert answer.status_code in (200, 202, 503), answer.text  # 503: the run is not parked yet
        return answer.status_code != 503

    until(reported, 30, "the report is taken")
    run = mesh.run(run_id)
    assert (run["state"], run["outcome"]) == ("completed", "exported"), run
    assert kinds(run).count("wait") == 1
    everything = "".join(mesh.log(name) for name in SERVICES) + json.dumps(run)
    for topic in ("tool.calls", "run.waits", "wait.completions", "tool.results", "agent.results"):
        everything += "".join(str(record.value) for record in read_all(mesh.settings, topic))
    assert till.headers["headrace-callback-token"] not in everything


def test_a_denied_call_and_one_that_nobody_answered_are_not_made(mesh: Mesh, till: JsonServer) -> None:
    before = list(till.asked)
    denied, unanswered = start(mesh, "payer"), start(mesh, "hasty")
    approval = waiting(mesh, denied)
    mesh.cli("approvals", "deny", approval["id"], "--reason", "not today")
    for run_id in (denied, unanswered):
        run = mesh.run(run_id)
        assert (run["state"], run["outcome"]) == ("completed", "it was denied"), run
    assert till.asked == before


def test_sub_agents_work_side_by_side_and_are_a_family(mesh: Mesh) -> None:
    run_id = start(mesh, "boss")
    run = mesh.run(run_id)
    assert (run["state"], run["outcome"]) == ("completed", "all done"), run
    family = {member["run_id"]: member for member in run["family"]}
    assert family.pop(run_id)["parent_run_id"] is None
    assert [(one["agent_name"], one["state"], one["parent_run_id"]) for one in family.values()] == [
        ("helper", "completed", run_id)
    ] * 2
    child = mesh.run(next(iter(family)))
    assert (child["root_run_id"], child["outcome"], len(child["family"])) == (run_id, "helped", 3)
    assert "delegated by" in mesh.cli("runs", "show", run_id).stdout
    (results,) = (json.loads(r.value) for r in read_all(mesh.settings, "tool.results") if r.key == run_id)
    assert [one["content"]["output"] for one in results["results"]] == ["helped", "helped"]
    spent = results["progress"]["delegated"]
    assert spent["model_calls"] == 2
    assert results["progress"]["children"] == 2
    assert run["usage"]["model_calls"] == 2, "its own"


def test_cancelling_a_parent_ends_its_sub_agent_first(mesh: Mesh) -> None:
    run_id = start(mesh, "chief")
    child_id = until(lambda: _child(mesh, run_id), 30, "the sub-agent is there")
    waiting(mesh, child_id)
    assert mesh.gateway.post(f"/v1/runs/{run_id}/cancel").status_code == 202
    parent, child = mesh.run(run_id), mesh.run(child_id)
    assert [run["error"]["type"] for run in (parent, child)] == ["cancelled", "cancelled"]
    assert child["completed_at"] <= parent["completed_at"]


def _child(mesh: Mesh, run_id: str) -> str | None:
    family = mesh.gateway.get(f"/v1/runs/{run_id}").json().get("family") or []
    return next((str(one["run_id"]) for one in family if one["parent_run_id"] == run_id), None)


def test_a_job_on_kubernetes_is_waited_for_through_a_restart_and_removed_with_its_run(
    mesh: Mesh, cluster: ApiServer
) -> None:
    run_id, cancelled = start(mesh, "coder"), start(mesh, "coder")
    jobs = until(lambda: _jobs(cluster, run_id, cancelled), 30, "both Jobs are submitted")
    until(lambda: {record.key for record in read_all(mesh.settings, "run.waits")} >= {*jobs}, 30, "both runs wait")
    mesh.kill("orchestration")
    cluster.end(jobs[run_id], "Complete", "", b"looking\n42\n")
    assert mesh.gateway.post(f"/v1/runs/{cancelled}/cancel").status_code == 202
    mesh.start("orchestration", wait=False)
    run, other = mesh.run(run_id), mesh.run(cancelled)
    assert (run["state"], run["outcome"], other["error"]["type"]) == ("completed", "all done", "cancelled")
    until(lambda: cluster.removed, 30, "the Job of the cancelled run is removed")
    assert cluster.removed == [(jobs[cancelled], ["Background"])]
    (results,) = (json.loads(one.value) for one in read_all(mesh.settings, "tool.results") if one.key == run_id)
    assert results["results"][0]["content"] == {"state": "completed", "job": jobs[run_id], "result": 42}


def _jobs(cluster: ApiServer, *runs: str) -> dict[str, str] | None:
    """Names of Jobs by run; None while they are not all there."""
    found = {job["metadata"]["annotations"]["headrace.dev/run-id"]: name for name, job in cluster.jobs.items()}
    return found if found.keys() >= {*runs} else None


def forked(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(mesh.cli("runs", "fork", *arguments, "--json").stdout))


def standing(mesh: Mesh, agent: str) -> dict[str, Any]:
    """How the agent stands by ``GET /v1/horizon``, which says nothing of others then."""
    agents = mesh.gateway.get("/v1/horizon", params={"agent": agent}).json()["agents"]
    [one] = agents or [{"agent": agent, "runs": 0, "whole": 0}]
    assert one["agent"] == agent
    return dict(one)


def test_a_run_that_waits_is_forked_at_its_wait_and_asks_for_itself(mesh: Mesh, till: JsonServer) -> None:
    before = list(till.asked)
    run_id = start(mesh, "payer")
    approval = waiting(mesh, run_id)
    shown = forked(mesh, run_id, "--at", "1", "--dry-run")
    assert shown["anew"] == {"tool_calls": ["call_1_1"], "from": "tool_calls"}
    assert mesh.gateway.get(f"/v1/runs/{shown['run_id']}").status_code == 404, "a dry run begins nothing"
    made = forked(mesh, run_id, "--at", "1")
    assert made["run_id"] == shown["run_id"] == forked(mesh, run_id, "--at", "1")["run_id"]
    own = waiting(mesh, made["run_id"])
    mesh.cli("approvals", "deny", approval["id"])
    mesh.cli("approvals", "approve", own["id"])
    fork, run = mesh.run(made["run_id"]), mesh.run(run_id)
    assert (run["outcome"], fork["outcome"]) == ("it was denied", "all done")
    assert till.asked == [*before, "GET /as-asked"], "once, whatever was asked for twice"
    assert (fork["forked_from"], fork["forked_step"], fork["usage"]["model_calls"]) == (run_id, 1, 1)

    until(lambda: standing(mesh, "payer")["runs"] >= 2, 20, "both are in the index as ended")
    found = mesh.gateway.get(f"/v1/runs/{run_id}/diff/{made['run_id']}").json()
    assert found == json.loads(mesh.cli("runs", "diff", run_id, made["run_id"], "--json", expect=5).stdout)
    assert (found["same"], found["shared_rows"], found["right"]["forked_from"]["run_id"]) == (False, 1, run_id)
    refused = mesh.gateway.get(f"/v1/runs/{run_id}/diff/nobody")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_run")
    one = standing(mesh, "payer")
    assert one["whole"] == one["runs"]
    assert run_id in mesh.cli("runs", "show", made["run_id"]).stdout


def test_runs_are_forked_with_an_edit_also_sub_agents_and_run_again_together(mesh: Mesh) -> None:
    run_id = start(mesh, "boss")
    run = mesh.run(run_id)
    child = next(one["run_id"] for one in run["family"] if one["parent_run_id"] == run_id)
    edited = forked(mesh, run_id, "--at", "1", "--tool-result", 'call_1_1={"output": "denied"}')
    alone = forked(mesh, child, "--at", "0", "--prompt", "Again.")
    assert mesh.run(edited["run_id"])["outcome"] == "it was denied", "the model reads what was put there"
    fork = mesh.run(alone["run_id"])
    assert (fork["outcome"], fork["parent_run_id"], fork["forked_from"]) == ("helped", None, child)
    assert "at step" in mesh.cli("runs", "fork", run_id, "--at", "7", expect=1).stderr

    which = ("--where", f"run_id == '{run_id}'", "--replay", "once-more")
    assert "say --yes" in mesh.cli("runs", "rerun", *which, expect=2).stderr
    counted = json.loads(mesh.cli("runs", "rerun", *which, "--dry-run", "--json").stdout)
    assert (counted["runs"], counted["agents"], counted["dry_run"]) == (1, {"boss": 1}, True)
    for _ in range(2):  # the same replay again is the same runs
        done = json.loads(mesh.cli("runs", "rerun", *which, "--yes", "--json").stdout)
        assert (done["done"], done["refused"]) == (1, {})
    page = until(lambda: _of_replay(mesh, "once-more"), 30, "the run is there again")
    again = mesh.run(page[0]["run_id"])
    assert [one["run_id"] for one in _of_replay(mesh, "once-more")] == [again["run_id"]]
    assert (again["outcome"], again["forked_from"], again["forked_step"]) == ("all done", run_id, 0)

    parked = start(mesh, "payer")
    waiting(mesh, parked)
    mesh.cli("runs", "cancel", "--where", f"run_id == '{parked}'", "--yes")
    assert mesh.run(parked)["error"]["type"] == "cancelled"
    assert "say which runs" in mesh.cli("runs", "cancel", "--yes", expect=2).stderr
    assert mesh.cli("runs", "cancel", "--where", "][", "--yes", expect=2).stderr


def test_a_fork_under_another_version_goes_on_by_that_definition(mesh: Mesh) -> None:
    run_id = start(mesh, "payer")
    approval = waiting(mesh, run_id)
    unknown = mesh.cli("runs", "fork", run_id, "--at", "1", "--version", "9.9.9", expect=2)
    assert unknown.stderr == "headrace: agent payer has no version 9.9.9\n"
    refused = mesh.gateway.post(f"/v1/runs/{run_id}/fork", json={"at": 1, "version": "9.9.9"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unknown_agent")

    made = forked(mesh, run_id, "--at", "1", "--version", "2.0.0")
    fork = mesh.run(made["run_id"])
    assert (made["agent"], made["edited"]) == ("payer@2.0.0", ["version"])
    assert (fork["agent_version"], fork["outcome"]) == ("2.0.0", "paid by the second"), "by its own prompt"
    assert "wait" not in kinds(fork), "by its own rules too: nobody was asked"
    assert (fork["forked_from"], fork["forked_step"]) == (run_id, 1)
    no = {"verdict": "deny", "arguments_hash": approval["arguments_hash"]}
    assert mesh.gateway.post(f"/v1/approvals/{approval['id']}/decision", json=no).status_code == 200
    assert mesh.run(run_id)["agent_version"] == "1.0.0"

    until(lambda: standing(mesh, "payer")["runs"] >= 2, 20, "both are in the index as ended")
    found = mesh.gateway.get(f"/v1/runs/{run_id}/diff/{fork['run_id']}").json()
    assert (found["left"]["agent"], found["right"]["agent"]) == ("payer@1.0.0", "payer@2.0.0")
    assert found["right"]["forked_from"]["edited"] == ["version"]
    assert (found["shared_rows"], found["first"]["kind"]) == (1, "tool_results")
    assert "at step 1 (version edited)" in mesh.cli("runs", "diff", run_id, fork["run_id"], expect=5).stdout


def _of_replay(mesh: Mesh, replay_id: str) -> list[dict[str, Any]]:
    runs = mesh.gateway.get("/v1/runs", params={"agent": "boss", "limit": 200}).json()["runs"]
    return [run for run in runs if run["replay_id"] == replay_id]


def test_each_run_ends_once_while_services_are_killed(mesh: Mesh, till: JsonServer) -> None:
    """Half of the runs wait for sub-agents, half for an approval, which is given as soon as it is asked for."""
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    runs = [start(mesh, ("boss", "payer")[number % 2]) for number in range(RUNS)]
    stopping, decided = threading.Event(), list[str]()
    approver = threading.Thread(target=_approve_all, args=(mesh, stopping, decided))
    approver.start()
    try:
        for number, name in enumerate(rng.sample(KILLED, len(KILLED))):
            until(lambda n=number: len(decided) > n, 60, f"{number + 1} approvals are given")
            mesh.kill(name)
            mesh.start(name, wait=False)
        ended = [mesh.run(run_id, 90) for run_id in runs]
    finally:
        stopping.set()
        approver.join()
    assert Counter((run["state"], run["outcome"]) for run in ended) == {("completed", "all done"): RUNS}, f"seed {seed}"
    results = Counter(record.key for record in read_all(mesh.settings, "agent.results"))
    children = [one["run_id"] for run in ended for one in run["family"] if one["parent_run_id"]]
    assert len(set(children)) == RUNS, f"seed {seed}"
    assert {results[run_id] for run_id in (*runs, *children)} == {1}, f"seed {seed}"
    gone_on = Counter(record.key for record in read_all(mesh.settings, "tool.results"))
    assert {gone_on[run_id] for run_id in runs} == {1}, f"seed {seed}: each turn's results once"
    for service in KILLED:
        assert read_all(mesh.settings, STAGES[service].dead_letters) == []


def _approve_all(mesh: Mesh, stopping: threading.Event, decided: list[str]) -> None:
    while not stopping.wait(0.1):
        page = mesh.gateway.get("/v1/approvals", params={"state": "pending", "limit": 200})
        for one in page.json()["approvals"] if page.status_code == 200 else ():
            body = {"verdict": "approve", "arguments_hash": one["arguments_hash"]}
            mesh.gateway.post(f"/v1/approvals/{one['id']}/decision", json=body)
            decided.append(one["id"])
