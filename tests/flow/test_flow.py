"""The whole flow on real servers and real processes: from a signed webhook to a stored result."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from headrace.cli.sending import github_signature
from headrace.local.endpoints import Endpoints
from headrace.samples import samples
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.runtime.kafka import Headers, make_topics, produce, read_all
from tests.support.json_server import JsonServer, json_server
from tests.support.mesh import GITHUB_SECRET, Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("flow")
MODEL_KEY = "sk-planted-key-000"
FLIGHTS = [{"airline": name, "price": price} for name, price in [("A", 410), ("B", 120), ("C", 99), ("D", 310)]]


def deliver(mesh: Mesh, sample_name: str, seed: str, times: int = 1) -> list[httpx2.Response]:
    sample = next(s for s in samples(seed) if s.name == sample_name)
    headers = dict(sample.headers)
    if sample.sign:
        headers["x-hub-signature-256"] = github_signature(GITHUB_SECRET, sample.body)
    return [post(mesh, sample.path, sample.body, headers) for _ in range(times)]


def post(mesh: Mesh, path: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
    """As senders do: again after a 503."""
    for _ in range(20):
        response = mesh.gateway.post(path, content=body, headers=headers)
        if response.status_code != 503:
            break
        threading.Event().wait(float(response.headers["retry-after"]))
    return response


@pytest.fixture(scope="module")
def flights() -> Iterator[JsonServer]:
    """A real server that the agents' tool may call."""
    with json_server(FLIGHTS) as server:
        yield server


SCRIPT = Script.model_validate(
    {
        "rules": [
            {
                "match": {"turn": 0, "last_user": "flights"},
                "reply": {
                    "tool_calls": [
                        {
                            "name": "execute_pipeline",
                            "arguments": {
                                "session_id": "s",
                                "pipeline": [
                                    {"step": "http_request", "url": "URL"},
                                    {"step": "table_sort", "field": "price", "order": "asc"},
                                    {"step": "top_k", "k": 2},
                                ],
                            },
                        }
                    ]
                },
            },
            {"match": {"turn": 1}, "reply": {"text": "C and B are the cheapest"}},
        ]
    }
)

TRAVEL_AGENT = """
name: travel-agent
version: 1.0.0
category: test
description: Finds flights.
system_prompt: You find flights.
model: openai:gpt-4o
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
"""


@pytest.fixture(scope="module")
def mesh(stack: Endpoints, flights: JsonServer) -> Iterator[Mesh]:
    """One mesh for all of them. Its agents work offline, but for those whose definition names the simulated provider."""
    address = flights.address
    script = Script.model_validate_json(
        SCRIPT.model_dump_json(by_alias=True).replace("URL", f"http://{address}/flights")
    )
    with Simulator(script) as simulator, own_database(stack.database_url) as database_url:
        environment = {
            "HEADRACE_MODEL": "offline",
            "OPENAI_API_KEY": MODEL_KEY,
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "HEADRACE_EGRESS_ALLOW_PRIVATE": address,
        }
        with running_mesh(stack, unique_namespace(), database_url, environment=environment) as running:
            yield running


def test_every_sample_becomes_the_runs_that_it_promises(mesh: Mesh) -> None:
    """The demo's own deliveries, on the offline model; then what must not happen: doubles, leaks."""
    batch = samples("flow")
    for sample in batch:
        for response in deliver(mesh, sample.name, "flow", times=2):  # senders retry: each is delivered twice
            assert response.status_code == 202, response.text
    expected = sum(sample.runs for sample in batch)
    runs = mesh.finished(expected)
    assert len(runs) == expected
    assert {run["state"] for run in runs} == {"completed"}
    assert {run["model"] for run in runs} == {"offline"}
    assert all("offline" in run["outcome"]["summary"] for run in runs)
    assert len({run["agent_name"] for run in runs}) >= 6
    results = read_all(mesh.settings, "agent.results")
    assert Counter(record.key for record in results) == Counter(run["run_id"] for run in runs)

    for record in read_all(mesh.settings, "ingest.raw"):
        sent = next(s for s in batch if s.body == record.value)  # byte for byte
        assert "signature" not in " ".join(record.headers), sent.name
    for topic in ("ingest.raw", "ingest.events", "agent.jobs", "agent.results"):
        assert not any(GITHUB_SECRET.encode() in r.value for r in read_all(mesh.settings, topic))
    assert not any(GITHUB_SECRET in mesh.log(name) for name in mesh.processes)


def test_a_protocol_v1_job_runs_tools_and_stores_its_result(mesh: Mesh, tmp_path: Path) -> None:
    """Straight to Kafka, as the protocol's own document writes it; the model is real HTTP, the tool calls a real server."""
    definition = tmp_path / "travel.yaml"
    definition.write_text(TRAVEL_AGENT)
    mesh.publish(definition)
    job = {
        "version": "1.0",
        "job_id": "550e8400-e29b-41d4-a716-446655440000",
        "run_id": "run-2024-001",
        "node_id": "agent_analyze_data",
        "agent": "travel-agent",
        "user_id": "sdutt",
        "prompt": "fetch flights from NYC to LAX, sort by price, show top 2",
        "context": {"session_id": "sess-xyz789"},
        "timeout_sec": 300,
        "retry_count": 0,
        "created_at": "2024-10-12T10:30:00Z",
    }
    produce(mesh.settings, "agent.jobs", [("sess-xyz789", json.dumps(job).encode())])
    run = mesh.run(job["job_id"])
    assert run["state"] == "completed", run
    assert run["outcome"] == "C and B are the cheapest"
    assert run["workflow_run_id"] == "run-2024-001"
    assert run["usage"]["model_calls"] == 2
    assert run["usage"]["cost_usd"] > 0
    assert [record["kind"] for record in run["records"]] == ["job", "tool_calls", "tool_results", "result"]
    tool_result = json.loads(read_all(mesh.settings, "tool.results")[0].value)["results"][0]
    assert tool_result["status"] == "ok", tool_result
    assert "99" in json.dumps(tool_result)
    assert "410" not in json.dumps(tool_result)
    stored = mesh.gateway.get(run["result_url"]).json()
    assert stored["data"] == "C and B are the cheapest"
    shown = json.loads(mesh.cli("runs", "show", job["job_id"], "--json").stdout)
    assert shown["result_ref"].startswith("artifact://")
    events = mesh.gateway.get(f"/v1/runs/{job['job_id']}/events", headers={"accept": "text/event-stream"}).text
    assert [line.split(": ")[1] for line in events.splitlines() if line.startswith("event:")] == [
        "job",
        "tool_calls",
        "tool_results",
        "result",
    ]
    everything = "".join(mesh.log(name) for name in mesh.processes)
    assert MODEL_KEY not in everything


def test_a_reply_goes_where_a_job_asks_for_it_and_nowhere_that_is_not_there(mesh: Mesh) -> None:
    """By field or by header. A topic that nobody made costs the reply, and neither the result nor the reasoner."""
    make_topics(mesh.settings, ["agent.replies.asked"])
    here = b"agent.replies.asked"
    asked: dict[str, tuple[dict[str, str], Headers]] = {
        "by-field": ({"reply_to": here.decode()}, ()),
        "by-header": ({}, [("reply_to", here)]),
        "nowhere": ({"reply_to": "agent.replies.nobody-made-it"}, ()),
        "forbidden": ({"reply_to": "agent.results"}, ()),
    }
    for job_id, (fields, headers) in asked.items():
        job = {"version": "1.0", "job_id": job_id, "prompt": "hello", **fields}
        produce(mesh.settings, "agent.jobs", [("replies", json.dumps(job).encode())], headers=headers)
    for job_id in asked:
        assert mesh.run(job_id)["state"] == "completed"
    results = {record.key: record.value for record in read_all(mesh.settings, "agent.results") if record.key in asked}
    replies = {record.key: record.value for record in read_all(mesh.settings, "agent.replies.asked")}
    assert replies == {job_id: results[job_id] for job_id in ("by-field", "by-header")}
    assert results.keys() == asked.keys()
    assert mesh.processes["reasoning"].poll() is None, "reasoning crashed"


def test_garbage_on_any_topic_is_dead_lettered_and_can_be_redriven(mesh: Mesh) -> None:
    """The largest record that a topic takes too: what is said of it has to fit into the dead-letter topic beside it."""
    topics = ("ingest.raw", "ingest.events", "agent.jobs", "tool.calls", "tool.results", "agent.results")
    for topic in topics:
        produce(
            mesh.settings,
            topic,
            [("k", b"\x00garbage"), (None, b"{}"), ("k", b'{"version": "2.0", "schema_version": "2.0"}')],
        )
    produce(mesh.settings, "agent.jobs", [("good", os.urandom(1_048_000))])
    produce(mesh.settings, "agent.jobs", [("good", b'{"version": "1.0", "job_id": "still-works", "prompt": "hello"}')])
    assert mesh.run("still-works")["state"] == "completed"
    expected = {"ingest": 3, "reasoning": 7, "tools": 3, "persistence": 16}
    for service, count in expected.items():
        letters = until(
            lambda s=service, c=count: (found := read_all(mesh.settings, f"{s}.dlq")) and len(found) >= c and found,
            30,
            f"{count} dead letters of {service}",
        )
        assert len(letters) == count
        assert all(letter.headers["dlq_cause"] and letter.headers["dlq_offset"] for letter in letters)
    for name in mesh.processes:
        assert mesh.processes[name].poll() is None, f"{name} crashed"
    listed = json.loads(mesh.cli("dlq", "list", "tools", "--json").stdout)
    assert len(listed) == 3
    gone = json.loads(mesh.cli("dlq", "redrive", "tools", listed[0]["id"], "--json").stdout)
    assert len(gone) == 1
    again = until(lambda: (r := read_all(mesh.settings, "tools.dlq")) and len(r) >= 4 and r, 30, "it came back")
    assert max(int(letter.headers.get("dlq_redrives", 0)) for letter in again) == 1
