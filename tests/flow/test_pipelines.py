"""Pipelines end to end: the protocol's test prompts, results given again, and a pipeline that becomes a tool; on real processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from headrace.local.endpoints import Endpoints
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.runtime.kafka import produce, read_all
from tests.support.json_server import JsonServer, json_server
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace

pytestmark = pytest.mark.xdist_group("pipelines")
FLIGHTS = [{"airline": f"Airline {number}", "price": 100 + (number * 37) % 900} for number in range(50)]
CHEAPEST = sorted(FLIGHTS, key=lambda flight: flight["price"])[:3]
AGENT = """
name: {name}
version: 1.0.0
category: test
description: Finds flights.
system_prompt: You find flights.
model: {model}
tools: [execute_pipeline, search_tools]
http_domains: ["127.0.0.1"]
"""


@pytest.fixture(scope="module")
def flights() -> Iterator[JsonServer]:
    """A real server that the agents' tool may call."""
    with json_server(FLIGHTS) as server:
        yield server


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def mesh(
    stack: Endpoints, flights: JsonServer, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    environment = {
        "HEADRACE_MODEL": "offline",
        "OPENAI_API_KEY": "sk-planted",
        "OPENAI_BASE_URL": simulator.openai_base_url,
        "HEADRACE_EGRESS_ALLOW_PRIVATE": flights.address,
    }
    files = [tmp_path_factory.mktemp("agents") / name for name in ("travel-agent", "offline-agent")]
    for file, model in zip(files, ("openai:gpt-4o", "offline"), strict=True):
        file.write_text(AGENT.format(name=file.name, model=model))
    services = ("gateway", "reasoning", "tools", "persistence")
    with (
        own_database(stack.database_url) as database_url,
        running_mesh(
            stack, unique_namespace(), database_url, services=services, apart=(), environment=environment
        ) as mesh,
    ):
        mesh.publish(*files)
        yield mesh


def script(name: str, arguments: dict[str, Any], answer: str) -> Script:
    call = {"name": name, "arguments": arguments}
    usage = {"cache_read_tokens": 0}  # what is a cache hit here is the pipeline's
    rules = [
        {"match": {"last_tool": "dataset"}, "reply": {"text": answer, "usage": usage}},
        {"match": {}, "reply": {"tool_calls": [call], "usage": usage}},
    ]
    return Script.model_validate({"rules": rules})


def ask(mesh: Mesh, job_id: str, prompt: str, agent: str = "travel-agent") -> tuple[dict[str, Any], dict[str, Any]]:
    """The finished run, and its only tool outcome."""
    job = {"version": "1.0", "job_id": job_id, "agent": agent, "prompt": prompt, "context": {"session_id": "test-123"}}
    produce(mesh.settings, "agent.jobs", [("test-123", json.dumps(job).encode())])
    run = mesh.run(job_id)
    assert run["state"] == "completed", run
    outcome = outcome_of(mesh, job_id)
    assert outcome["status"] == "ok", outcome
    return run, outcome


def outcome_of(mesh: Mesh, job_id: str) -> dict[str, Any]:
    """The only tool outcome of a run, as its record has it."""
    records = [json.loads(record.value) for record in read_all(mesh.settings, "tool.results") if record.key == job_id]
    (outcome,) = [outcome for record in records for outcome in record["results"]]
    return outcome


def cache_hits(mesh: Mesh, count: int) -> dict[str, bool]:
    """By run, what the protocol's metadata say in the first results of the topic."""
    lines = mesh.cli("results", "tail", "--from-beginning", "-n", str(count), "--json").stdout.splitlines()
    return {result["job_id"]: result["metadata"]["cache_hit"] for result in map(json.loads, lines)}


@pytest.fixture(scope="module")
def first_prompt(flights: JsonServer) -> list[dict[str, Any]]:
    """The pipeline of the protocol's test 1."""
    return [
        {
            "step": "http_request",
            "url": f"{flights.url}/search",
            "params": {"origin": "NYC", "dest": "LAX"},
        },
        {"step": "table_sort", "field": "price", "order": "asc"},
        {"step": "top_k", "k": 3},
    ]


def test_a_simple_query_and_the_tool_that_it_becomes(
    mesh: Mesh, simulator: Simulator, flights: JsonServer, first_prompt: list[dict[str, Any]]
) -> None:
    prompt = "fetch flights from NYC to LAX, sort by price, show top 3"
    simulator.play(script("execute_pipeline", {"session_id": "test-123", "pipeline": first_prompt}, "three flights"))
    run, outcome = ask(mesh, "first", prompt)
    assert run["outcome"] == "three flights"
    assert outcome["content"]["rows"] == CHEAPEST
    assert flights.asked == ["GET /search?origin=NYC&dest=LAX"]

    _, again = ask(mesh, "second", prompt)
    assert again["cache_hit"]
    assert again["content"]["rows"] == CHEAPEST
    assert len(flights.asked) == 1
    assert cache_hits(mesh, 2) == {"first": False, "second": True}

    (tool,) = json.loads(mesh.cli("tools", "list", "--json").stdout)
    assert (tool["uses"], tool["steps"]) == (2, first_prompt)
    shown = json.loads(mesh.cli("tools", "show", tool["name"], "--json").stdout)
    assert {use["run_id"] for use in shown["used_by"]} == {"first", "second"}
    (found,) = json.loads(mesh.cli("tools", "search", "flights sorted by price", "--json").stdout)
    assert found["name"] == tool["name"]

    simulator.play(script(tool["name"], {}, "the same flights"))
    number = iter(range(100))

    def offered() -> dict[str, Any] | None:
        job_id = f"offered-{next(number)}"
        job = {"version": "1.0", "job_id": job_id, "agent": "travel-agent", "prompt": prompt}
        produce(mesh.settings, "agent.jobs", [(job_id, json.dumps(job).encode())])
        run = mesh.run(job_id)
        names = [one["function"]["name"] for one in simulator.requests[-1].body["tools"]]
        return run if tool["name"] in names else None

    run = until(offered, 30, "the composite tool is offered")
    assert run["outcome"] == "the same flights"
    outcome = outcome_of(mesh, run["run_id"])
    assert (outcome["tool"], outcome["tool_version"], outcome["status"]) == (tool["name"], "1.0.0", "ok")
    assert outcome["content"]["rows"] == CHEAPEST

    mesh.cli("tools", "demote", tool["name"])
    assert json.loads(mesh.cli("tools", "list", "--json").stdout) == []


def test_a_second_turn_filters_what_the_first_one_stored(
    mesh: Mesh, simulator: Simulator, first_prompt: list[dict[str, Any]]
) -> None:
    """The protocol's test 3, as far as it is the tool's: its first result is the input of the next call."""
    fetch = [first_prompt[0]]
    simulator.play(script("execute_pipeline", {"session_id": "test-123", "pipeline": fetch}, "50 flights"))
    _, fetched = ask(mesh, "turn-1", "fetch flights NYC to LAX")
    content = fetched.get("content") or fetched["preview"]
    assert content["row_count"] == 50
    step = {"step": "table_filter", "condition": {"field": "price", "op": "<", "value": 500}}
    arguments = {"session_id": "test-123", "input_ref": content["result_ref"], "pipeline": [step]}
    simulator.play(script("execute_pipeline", arguments, "those under $500"))
    _, filtered = ask(mesh, "turn-2", "now filter those under $500")
    content = filtered.get("content") or filtered["preview"]
    assert content["row_count"] == sum(flight["price"] < 500 for flight in FLIGHTS)


def test_the_assistant_looks_for_what_there_is_before_it_makes_a_pipeline(
    mesh: Mesh, simulator: Simulator, first_prompt: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The built-in agent as an operator would adapt it: another model, and hosts that it may call."""
    text = files("headrace.registry.builtin").joinpath("assistant.yaml").read_text()
    text = re.sub(r"(?m)^version: .*$", "version: 99.0.0", text).replace("model: default", "model: openai:gpt-4o")
    (tmp_path / "assistant.yaml").write_text(text + "http_domains: ['127.0.0.1']\n")
    known = json.loads(mesh.cli("tools", "list", "--all", "--json").stdout)
    [tool] = [one for one in known if one["steps"] == first_prompt]
    mesh.cli(
        "tools", "promote", tool["name"], "--as", "composite_cheapest", "--description", "The three cheapest flights."
    )
    mesh.publish(tmp_path / "assistant.yaml")
    call = {"name": "execute_pipeline", "arguments": {"session_id": "s", "pipeline": first_prompt}}
    look = {"name": "search_tools", "arguments": {"query": "cheapest flights"}}
    simulator.play(
        Script.model_validate(
            {
                "rules": [
                    {"match": {"last_tool": "dataset"}, "reply": {"text": "found and used"}},
                    {"match": {"last_tool": "composite_cheapest"}, "reply": {"tool_calls": [call]}},
                    {"match": {"system": "search_tools", "turn": 0}, "reply": {"tool_calls": [look]}},
                ]
            }
        )
    )
    prompt = "fetch flights, sort by price, top 3"
    produce(
        mesh.settings,
        "agent.jobs",
        [("look", json.dumps({"version": "1.0", "job_id": "look", "prompt": prompt}).encode())],
    )
    run = mesh.run("look")
    assert (run["agent_name"], run["outcome"]) == ("assistant", "found and used"), run
    records = [json.loads(record.value) for record in read_all(mesh.settings, "tool.results") if record.key == "look"]
    searched, worked = [outcome for record in records for outcome in record["results"]]
    [found] = searched["content"]["tools"]
    assert (found["kind"], found["name"], found["pipeline"]) == ("composite", "composite_cheapest", first_prompt)
    assert worked["content"]["rows"] == CHEAPEST


def test_the_offline_model_serves_the_third_prompt_too(mesh: Mesh, first_prompt: list[dict[str, Any]]) -> None:
    ask(mesh, "offline-1", f"fetch flights from {first_prompt[0]['url']}", agent="offline-agent")
    _, outcome = ask(mesh, "offline-2", "now filter those under $500", agent="offline-agent")
    content = outcome.get("content") or outcome["preview"]
    assert content["row_count"] == sum(flight["price"] < 500 for flight in FLIGHTS)


def test_the_offline_model_serves_the_first_prompt_too(mesh: Mesh, first_prompt: list[dict[str, Any]]) -> None:
    prompt = f"fetch flights from {first_prompt[0]['url']}, sort by price, show top 3"
    run, outcome = ask(mesh, "offline", prompt, agent="offline-agent")
    assert outcome["content"]["rows"] == CHEAPEST
    assert CHEAPEST[0]["airline"] in run["outcome"]
