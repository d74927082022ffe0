"""The doors over real processes: one function behind them, a limit over gateways that outlives one, and an end on request."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headrace.client import Client
from headrace.local.endpoints import Endpoints
from headrace.messages.tokens import RunTokens
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.runtime.kafka import read_all
from tests.support.children import start_services
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.ports import free_port
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("doors")
USER = "9b64a3a7-f8e4-4f06-8e57-73b50b042f29"
SLOW = """
name: slow-agent
version: 1.0.0
category: test
description: Its model thinks for a minute.
system_prompt: You think.
model: openai:gpt-4o
"""

WRITTEN = "One after the other come words."
WRITER = SLOW.replace("slow-agent", "writer").replace("thinks for a minute", "writes word by word")


@pytest.fixture(scope="module")
def mesh(stack: Endpoints) -> Iterator[Mesh]:
    writing = {"match": {"last_user": "Write"}, "reply": {"text": WRITTEN, "piece_ms": 120}}
    slow = {"match": {}, "reply": {"text": "At last.", "latency_ms": 60_000}}
    script = Script.model_validate({"rules": [writing, slow]})
    with Simulator(script) as simulator, own_database(stack.database_url) as database_url:
        environment = {
            "HEADRACE_MODEL": "offline",
            "OPENAI_API_KEY": "sk-planted",
            "OPENAI_BASE_URL": simulator.openai_base_url,
        }
        services = ("gateway", "reasoning", "persistence")
        with running_mesh(
            stack, unique_namespace(), database_url, services=services, apart=("gateway",), environment=environment
        ) as mesh:
            until(lambda: mesh.gateway.get("/readyz").status_code == 200, 60, "the gateway has read the agents")
            yield mesh


def test_a_prompt_gets_its_response(mesh: Mesh) -> None:
    answer = mesh.gateway.post("/agent", json={"prompt": "What can you do?"})
    assert answer.status_code == 200, answer.text
    assert "offline" in answer.json()["response"]


def test_a_run_is_asked_for_with_a_wait(mesh: Mesh) -> None:
    body = {"agent": "risk-classifier", "input": {"title": "Open port 22"}, "idempotency_key": "wait"}
    first = mesh.gateway.post("/v1/runs", params={"wait": 25}, json=body)
    assert (first.status_code, first.json()["state"]) == (200, "completed"), first.text
    assert first.json()["output"]["risk"] == "low"
    assert mesh.gateway.post("/v1/runs", params={"wait": 25}, json=body).json() == first.json()
    listed = mesh.runs(agent="risk-classifier")
    assert [run["run_id"] for run in listed] == [first.json()["run_id"]]
    assert mesh.runs(user_id="nobody") == []


def test_a_policy_is_checked_from_pending_to_done(mesh: Mesh) -> None:
    run_id = mesh.gateway.post("/agents/run", json={"agent_type": "policy-checker", "user_id": USER}).json()["run_id"]

    def done() -> dict[str, Any] | None:
        shown: dict[str, Any] = mesh.gateway.get(f"/agents/status/{run_id}").json()
        assert shown["state"] in ("PENDING", "RUNNING", "DONE"), shown
        return shown if shown["state"] == "DONE" else None

    shown = until(done, 60, "the policy is checked")
    assert shown["result"]["decision"] == "rejected", "without a model nothing is approved"
    assert (shown["agent_type"], shown["user_id"]) == ("policy-checker", USER)
    lines = [json.loads(line) for line in mesh.log("reasoning").splitlines() if run_id in line]
    assert [line["event"] for line in lines] == ["agent_start", "agent_complete"]
    for line in lines:
        assert {"timestamp", "level", "event", "agent_type", "user_id", "run_id"} <= set(line)
        assert (line["level"], line["agent_type"], line["user_id"]) == ("info", "policy-checker", USER)


def test_what_a_model_writes_is_followed_while_it_writes(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "writer.yaml").write_text(WRITER)
    mesh.publish(tmp_path / "writer.yaml")
    mesh.await_agents("writer")
    with Client(str(mesh.gateway.base_url)) as client:
        asked = client.start("writer", prompt="Write.", stream_tokens=True)
        events = list(client.stream(asked.run_id, tokens=True))
        silent = client.start("writer", prompt="Write.")
        assert [event.type for event in client.stream(silent.run_id, tokens=True)] == ["job", "result"]
        assert client.wait(asked.run_id).result() == client.wait(silent.run_id).result() == WRITTEN
    pieces = [event.data for event in events if event.type == "tokens"]
    assert len(pieces) > 1, "they came while it wrote"
    assert "".join(piece["text"] for piece in pieces) == WRITTEN, "from the first on, though it was followed later"
    assert [piece["at"] for piece in pieces] == [
        sum(len(before["text"]) for before in pieces[:number]) for number in range(len(pieces))
    ]
    assert events[-1].type == "result"
    records = read_all(mesh.settings, RunTokens.TOPIC)
    assert {record.headers["ce_runid"] for record in records} == {asked.run_id}


def test_one_at_a_time_over_gateways_through_a_kill_until_it_is_cancelled(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    mesh.publish(tmp_path / "slow.yaml")
    slow = {"agent_type": "slow-agent", "user_id": USER}
    with SecondGateway(mesh) as other:
        for client in (mesh.gateway, other):
            until(lambda client=client: client.get("/v1/agents/slow-agent").status_code == 200, 30, "it is published")
        answers: list[httpx2.Response] = []
        asking = [
            threading.Thread(target=lambda client=client: answers.append(client.post("/agents/run", json=slow)))
            for client in (mesh.gateway, other) * 5
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9
        assert {str(answer.json()) for answer in answers if answer.status_code == 409} == {
            "{'detail': 'An agent is already running, please retry later'}"
        }
        [run_id] = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
        mesh.kill("gateway")
        until(lambda: other.get(f"/agents/status/{run_id}").json()["state"] == "RUNNING", 30, "it runs")
        assert other.post("/agents/run", json=slow).status_code == 409
        assert other.post(f"/v1/runs/{run_id}/cancel").status_code == 202
        until(lambda: other.get(f"/agents/status/{run_id}").json()["state"] == "ERROR", 30, "it has ended")
        assert other.get(f"/agents/status/{run_id}").json()["error"]["type"] == "cancelled"
        assert other.post(f"/v1/runs/{run_id}/cancel").status_code == 202
        second = other.post("/agents/run", json=slow)
        assert second.status_code == 202
        assert other.post(f"/v1/runs/{second.json()['run_id']}/cancel").status_code == 202
    mesh.start("gateway")


class SecondGateway:
    """A client of another gateway process of the mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh, self._port = mesh, free_port()

    def __enter__(self) -> httpx2.Client:
        environment = self._mesh.environment | {"HEADRACE_GATEWAY_PORT": str(self._port), "HEADRACE_INSTANCE": "1"}
        self._process = start_services("gateway", environment=environment, log=self._mesh.logs / "second.log")
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=30)

        def ready() -> bool:
            try:
                return self._client.get("/readyz").status_code == 200
            except httpx2.TransportError:
                return False

        until(ready, 60, "the second gateway is ready")
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(45)
