"""Sessions over real processes: turns in order through kills, what each finds there, and who comes while another is under way.

The model is the simulator over HTTP, scripted as the source document's third test prompt expects; the tool calls a real server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.local.endpoints import Endpoints
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.runtime.kafka import produce, read_all
from tests.support.json_server import JsonServer, json_server
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("flow_sessions")
FLIGHTS = [{"airline": f"Airline {n}", "price": 100 + 10 * n, "seats": "x" * 60} for n in range(50)]
UNDER_500 = [flight for flight in FLIGHTS if int(str(flight["price"])) < 500]
AGENT = """
name: travel-agent
version: 1.0.0
category: test
description: Works on flights.
system_prompt: You work on flights with the tools that you have.
model: openai:gpt-4o
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
"""


class Model:
    """What the simulator answers. The filter names the reference that its own prompt gave."""

    def __init__(self) -> None:
        self.simulator = Simulator(Script())

    def play(self, *rules: dict[str, Any]) -> None:
        self.simulator.play(Script.model_validate({"rules": rules}))

    def asked(self) -> list[dict[str, Any]]:
        return [logged.body for logged in self.simulator.requests]


def call(pipeline: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    arguments = {"session_id": "test-123", "pipeline": pipeline, **more}
    return {"tool_calls": [{"name": "execute_pipeline", "arguments": arguments}]}


@pytest.fixture(scope="module")
def flights() -> Iterator[JsonServer]:
    """A real server that the agents' tool may call."""
    with json_server(FLIGHTS) as server:
        yield server


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    with made.simulator:
        yield made


@pytest.fixture(scope="module")
def mesh(
    stack: Endpoints, flights: JsonServer, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    definition = tmp_path_factory.mktemp("agents") / "travel.yaml"
    definition.write_text(AGENT)
    with own_database(stack.database_url) as database_url:
        environment = {
            "HEADRACE_MODEL": "offline",
            "OPENAI_API_KEY": "sk-planted",
            "OPENAI_BASE_URL": model.simulator.openai_base_url,
            "HEADRACE_EGRESS_ALLOW_PRIVATE": json.dumps([flights.address]),
        }
        services = ("gateway", "reasoning", "tools", "persistence")
        with running_mesh(
            stack, unique_namespace(), database_url, services=services, apart=("reasoning",), environment=environment
        ) as mesh:
            mesh.publish(definition)
            mesh.await_agents("travel-agent")
            yield mesh


def job(job_id: str, prompt: str, session_id: str, **more: Any) -> bytes:
    """A job as the protocol writes it."""
    given = {"version": "1.0", "job_id": job_id, "agent": "travel-agent", "prompt": prompt, **more}
    return json.dumps(given | {"context": {"session_id": session_id}}).encode()


def session(mesh: Mesh, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = mesh.gateway.get(f"/v1/sessions/{name}").json()
    return shown


def test_a_second_turn_filters_the_result_of_the_first(mesh: Mesh, model: Model, flights: JsonServer) -> None:
    fetch = [{"step": "http_request", "url": f"{flights.url}/search"}]
    model.play(
        {"match": {"turn": 0, "last_user": "fetch flights NYC to LAX"}, "reply": call(fetch)},
        {"match": {"turn": 1, "last_user": "fetch flights NYC to LAX"}, "reply": {"text": "50 flights"}},
    )
    produce(mesh.settings, "agent.jobs", [("test-123", job("turn-1", "fetch flights NYC to LAX", "test-123"))])
    assert mesh.run("turn-1")["outcome"] == "50 flights"
    ref = session(mesh, "test-123")["last_result_ref"]
    assert ref.startswith("cas://sha256:")

    filtering = [{"step": "table_filter", "condition": {"field": "price", "op": "<", "value": 500}}]
    model.play(  # the script can only match what the prompt says: without the reference in it there is no call
        {
            "match": {"turn": 1, "last_user": f"Previous result available at: {ref}"},
            "reply": call(filtering, input_ref=ref),
        },
        {"match": {"turn": 2, "last_tool": '"row_count":40'}, "reply": {"text": "40 are under $500"}},
    )
    answer = mesh.gateway.post(
        "/test/chat", json={"prompt": "now filter those under $500", "session_id": "test-123", "agent": "travel-agent"}
    ).json()
    assert (answer["status"], answer["result"]) == ("completed", "40 are under $500"), answer
    shown = session(mesh, "test-123")
    assert [said["content"].split("\n")[0] for said in shown["conversation_history"]] == [
        "fetch flights NYC to LAX",
        "50 flights",
        "now filter those under $500",
        "40 are under $500",
    ]
    assert (shown["turns"], sum(shown["pipeline_usage"].values()), shown["in_line"]) == (2, 2, [])
    filtered = mesh.gateway.get("/v1/results/" + shown["last_result_ref"].removeprefix("cas://")).json()
    assert filtered == UNDER_500
    told = json.loads(mesh.cli("sessions", "show", "test-123", "--json").stdout)
    assert told["last_result_ref"] == shown["last_result_ref"]
    assert "test-123" in mesh.cli("sessions", "list").stdout
    mesh.cli("sessions", "show", "nobody", expect=4)


def test_turns_of_a_session_come_in_order_one_at_a_time_through_a_kill(
    mesh: Mesh, model: Model, flights: JsonServer
) -> None:
    """Their jobs have keys of their own, so that lanes and partitions put them into no order."""
    fetch = [{"step": "http_request", "url": f"{flights.url}/search"}]
    model.simulator.requests.clear()
    model.play(
        {"match": {"last_tool": "row_count"}, "reply": {"text": "Done.", "latency_ms": 100}},
        {"match": {"last_user": "turn"}, "reply": call(fetch) | {"latency_ms": 100}},
    )
    for n in range(4):
        produce(mesh.settings, "agent.jobs", [(f"key-{n}", job(f"ordered-{n}", f"turn {n}", "ordered"))])
        until(lambda n=n: f"ordered-{n}" in line(mesh) + ended(mesh), 30, "it has its place")
    mesh.kill("reasoning")
    mesh.start("reasoning")
    for n in range(4):
        assert mesh.run(f"ordered-{n}")["state"] == "completed"
    shown = session(mesh, "ordered")
    assert [said["content"].split("\n")[0] for said in shown["conversation_history"][::2]] == [
        f"turn {n}" for n in range(4)
    ]
    assert [run["run_id"] for run in reversed(shown["runs"])] == [f"ordered-{n}" for n in range(4)]
    results = {record.key for record in read_all(mesh.settings, "agent.results") if record.key.startswith("ordered-")}
    assert len(results) == 4
    for asked in model.asked():  # each saw all that was answered before it, and nothing that was not
        said = [message["content"] or "" for message in asked["messages"] if message["role"] == "user"]
        assert [text.split("\n")[0] for text in said] == [f"turn {n}" for n in range(len(said))]


def line(mesh: Mesh) -> list[str]:
    found: list[str] = session(mesh, "ordered").get("in_line", [])
    return found


def ended(mesh: Mesh) -> list[str]:
    return [run["run_id"] for run in session(mesh, "ordered").get("runs", [])]


def test_who_comes_while_another_is_under_way_is_refused_or_ends_it(mesh: Mesh, model: Model) -> None:
    model.play(
        {"match": {"last_user": "slow"}, "reply": {"text": "Too late.", "latency_ms": 60_000}},
        {"match": {}, "reply": {"text": "Quick."}},
    )
    produce(mesh.settings, "agent.jobs", [("a", job("slow-1", "slow", "busy"))])
    until(lambda: session(mesh, "busy").get("in_line") == ["slow-1"], 30, "it is under way")

    produce(mesh.settings, "agent.jobs", [("b", job("refused", "now this", "busy", double_texting="reject"))])
    refused = mesh.run("refused")
    assert (refused["state"], refused["error"]["type"], refused["error"]["retryable"]) == (
        "failed",
        "session_busy",
        True,
    )
    produce(mesh.settings, "agent.jobs", [("c", job("interrupting", "now this", "busy", double_texting="interrupt"))])
    assert mesh.run("interrupting")["outcome"] == "Quick."
    assert mesh.run("slow-1")["error"]["type"] == "cancelled"
    history = session(mesh, "busy")["conversation_history"]
    assert [said["content"].split("\n")[0] for said in history] == [
        "slow",
        "(no answer: cancelled)",
        "now this",
        "Quick.",
    ]


def test_a_job_of_another_major_version_is_refused_by_name_to_its_sender_too(mesh: Mesh, model: Model) -> None:
    model.play()
    later = json.dumps({"version": "2.0", "job_id": "from-later", "prompt": {"parts": []}}).encode()
    produce(mesh.settings, "agent.jobs", [("k", later)])
    run = mesh.run("from-later")
    assert (run["state"], run["error"]["type"]) == ("failed", "unsupported_version")
    assert "'2.0'" in run["error"]["message"]
    letters = [letter for letter in read_all(mesh.settings, "reasoning.dlq") if letter.value == later]
    assert [letter.headers["dlq_cause"] for letter in letters] == ["unsupported_version"]
    results = [record for record in read_all(mesh.settings, "agent.results") if record.key == "from-later"]
    assert len(results) == 1


def test_a_service_that_is_told_to_stop_ends_what_it_has_begun(mesh: Mesh, model: Model) -> None:
    """Within the 30 seconds of its drain; the answer under way is neither lost nor asked for again."""
    model.simulator.requests.clear()
    model.play({"match": {"last_user": "last words"}, "reply": {"text": "Goodbye.", "latency_ms": 1_500}})
    with ThreadPoolExecutor(1) as pool:
        asked = {"prompt": "last words", "session_id": "draining", "agent": "travel-agent"}
        answer = pool.submit(mesh.gateway.post, "/test/chat", json=asked)
        until(lambda: model.asked(), 30, "the model is asked")
        mesh.stop("reasoning")  # asserts the exit code 0, within 45 s
        assert answer.result().json()["result"] == "Goodbye."
    assert len(model.asked()) == 1
    mesh.start("reasoning")
