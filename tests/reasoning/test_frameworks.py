"""The same definition by other runtimes: frameworks, and a service over HTTP. Their runs are chains of records too."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import orjson
import pytest

from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.messages.agent import AgentDefinition
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls, ToolError
from headrace.models.resolve import Models
from headrace.models.retry import RetryPolicy
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.frameworks.http import HttpRuntime
from headrace.reasoning.prompt import system_text
from headrace.registry.load import InvalidDefinition, load_text
from headrace.registry.runtimes import RUNTIMES
from headrace.simulator.server import Simulator
from tests.containment.hostile import Server
from tests.reasoning.bench import (
    VERDICT_SCHEMA,
    Bench,
    ScriptedModel,
    answered,
    calls_reply,
    definition,
    only_calls,
    only_result,
    text_reply,
)
from tests.support.simulator import script, settings_for

ROOT = Path(__file__).parents[2]
PIPELINE = {"session_id": "s", "pipeline": [{"step": "top_k", "k": 3}]}
ASKS = {"text": "Looking.", "tool_calls": [{"name": "execute_pipeline", "arguments": PIPELINE}] * 2}
ANSWER = {"risk": "high", "note": "row-7"}


def _installed(runtime: str) -> Any:
    reason = f"the extra {runtime} is not installed here: make runtimes"
    there = importlib.util.find_spec(RUNTIMES[runtime].package) is not None
    return pytest.param(runtime, marks=pytest.mark.skipif(not there, reason=reason))


each_framework = pytest.mark.parametrize("runtime", [_installed(name) for name in ("langgraph", "crewai", "autogen")])
quiet_imports = pytest.mark.filterwarnings("ignore::ImportWarning", "ignore::DeprecationWarning")
pytestmark = quiet_imports


def frameworks_of(bench: Bench) -> set[str]:
    """Those that took turns."""
    return set(bench.tools.frameworks._made)


@pytest.fixture
async def models(simulator: Simulator) -> AsyncIterator[Models]:
    made = Models(settings_for(simulator, model_attempts=2))
    yield made
    await made.close()


async def records(bench: Bench) -> tuple[ToolCalls, AgentResult]:
    calls = only_calls(await bench.start())
    return calls, await bench.resume(answered(calls, {"id": "row-7"}, {"id": "row-8"}))


_OTHERWISE = {
    "agent",
    "definition_hash",
    "usage",
    "tokens_used",
    "cache_hit",
    "latency_ms",
    "model_ms",
    "execution_time_ms",
    "request_id",
}


def bare(value: Any) -> Any:
    """A record without what two runs of two definitions may differ in."""
    if isinstance(value, dict):
        return {name: bare(held) for name, held in value.items() if name not in _OTHERWISE}
    return [bare(held) for held in value] if isinstance(value, list) else value


@each_framework
async def test_a_framework_makes_the_very_records_that_native_makes(
    simulator: Simulator, models: Models, runtime: str
) -> None:
    rules = (
        {"match": {"turn": 0}, "reply": ASKS},
        {"match": {"last_tool": "row-7"}, "reply": {"json": ANSWER}},
    )
    made = {}
    for name in ("native", runtime):
        simulator.play(script(*rules))
        bench = Bench(models, definition(output_schema=VERDICT_SCHEMA, runtime=name))
        made[name] = await records(bench)
        assert frameworks_of(bench) == {name} - {"native"}
    calls, result = made[runtime]
    assert [call.arguments for call in calls.calls] == [PIPELINE, PIPELINE]
    assert (result.status, result.output, result.usage.model_calls) == ("completed", ANSWER, 2)
    assert [bare(record.plain()) for record in made[runtime]] == [bare(record.plain()) for record in made["native"]]
    sent = [orjson.loads(request.raw) for request in simulator.requests]
    assert sent[-1]["tools"] == sent[1]["tools"]
    if runtime != "crewai":
        assert sent[-1]["messages"] == sent[1]["messages"], "the model is asked the same, byte for byte"
        assert result.usage == made["native"][1].usage
    else:
        assert sent[-1]["messages"][1:] == sent[1]["messages"][1:], "all but the system prompt is the same"
        assert sent[1]["messages"][0]["content"] in sent[-1]["messages"][0]["content"], "which holds the mesh's, whole"


@each_framework
async def test_a_model_that_fails_within_a_framework_fails_as_itself(
    simulator: Simulator, models: Models, runtime: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    simulator.play(script({"reply": {"status": 401, "message": "no"}}))
    result = only_result(await Bench(models, definition(runtime=runtime)).start())
    assert result.error is not None
    assert result.error.type == "model_error"
    assert result.error.message.startswith("authentication")
    said, errors = capfd.readouterr()
    assert ["agent_" in line for line in said.splitlines()] == [True, True], "the reasoner's own two lines: none prints"
    assert errors == ""


@each_framework
async def test_a_model_is_given_the_very_conversation(runtime: Any) -> None:
    """Calls without a word, outcomes good and bad, text in between."""
    asked = {}
    for name in ("native", runtime):
        model = ScriptedModel(
            calls_reply({"a": 1}, {"b": [2]}), calls_reply({}, text="Once more."), text_reply("Done.")
        )
        bench = Bench(model, definition(runtime=name))
        calls = only_calls(await bench.start())
        outcomes = answered(calls, {"row": 1})
        bad = outcomes.results[1].replace(status="error", error=ToolError(type="timeout", message="slow"), content=None)
        calls = await bench.resume(outcomes.replace(results=(outcomes.results[0], bad)))
        result = await bench.resume(answered(calls, "<b>"))
        assert (result.status, result.output) == ("completed", "Done.")
        asked[name] = [(request.entries, request.tools) for request in model.requests]
    assert any(entry.is_error for entry in asked[runtime][1][0])
    assert asked[runtime] == asked["native"]


@pytest.mark.parametrize("runtime", [_installed("crewai")])
async def test_crewai_words_the_prompt_and_takes_the_answer_out_of_the_text(runtime: Any) -> None:
    model = ScriptedModel(text_reply("Thought: it is clear.\nFinal Answer: It is high."))
    agent = definition(runtime=runtime, description="Finds {risks}.")
    result = only_result(await Bench(model, agent).start())
    assert (result.status, result.output) == ("completed", "It is high.")
    (asked,) = model.requests
    assert asked.system.startswith("You are reviewer. ")
    assert system_text(agent) in asked.system
    assert "Your personal goal is: Finds {risks}." in asked.system


async def test_a_runtime_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = only_result(await Bench(ScriptedModel(), definition(runtime="langgraph")).start())
    assert result.error is not None
    assert "pip install 'headrace[langgraph]'" in result.error.message


class Service:
    """A bench whose agent's turns are taken by an HTTP service."""

    def __init__(self, server: Server, client: GuardedClient) -> None:
        self.server = server
        agent = definition(runtime="http", runtime_url=f"{server.url}/turn", output_schema=VERDICT_SCHEMA)
        self.bench = Bench(ScriptedModel(), agent)
        retry = RetryPolicy(attempts=2, base_s=0.001)
        object.__setattr__(self.bench.tools, "frameworks", Frameworks({"http": HttpRuntime(client, retry)}))

    def answers(self, value: Any, status: int = 200) -> None:
        self.server.pages["/turn"] = (status, {}, value)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    with Server("127.0.0.1") as server:
        policy = EgressPolicy(private=PrivateTargets.parse([server.address]))
        async with GuardedClient(policy) as client:
            yield Service(server, client)


async def test_a_service_takes_the_turns_of_a_run(service: Service) -> None:
    usage = {"input_tokens": 40, "output_tokens": 2, "cost_usd": 0.5, "model_calls": 3}
    service.answers({**ASKS, "usage": usage, "model": "theirs"})
    calls = only_calls(await service.bench.start())
    assert [(call.tool, call.arguments) for call in calls.calls] == [("execute_pipeline", PIPELINE)] * 2
    assert (calls.turns[0].model, calls.progress.usage.model_calls, calls.progress.usage.cost_usd) == ("theirs", 3, 0.5)
    service.answers({"text": orjson.dumps(ANSWER).decode()})
    result = await service.bench.resume(answered(calls, {"id": "row-7"}, {"id": "</tool_result>"}))
    assert (result.status, result.output, result.usage.model_calls) == ("completed", ANSWER, 4)
    first, second = (orjson.loads(request.body) for request in service.server.requests)
    assert first["run"]["run_id"] == "job-1"
    assert [tool["name"] for tool in first["tools"]] == ["execute_pipeline"]
    assert first["output_schema"] == VERDICT_SCHEMA
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool", "tool"]
    assert second["messages"][1]["tool_calls"][0]["id"] == second["messages"][2]["call_id"] == "call_1_1"
    assert second["messages"][3]["content"].count("<") == 2, "fenced for a service as for a model"


@pytest.mark.parametrize(
    ("value", "status", "said", "asked"),
    [
        ({"text": 1}, 200, "bad_response: 127.0.0.1 gave no answer of the contract", 2),
        ({"tool_calls": [{"name": "t"}] * 129}, 200, "asked for too many tool calls", 2),
        ({"error": "s3cret"}, 500, "server_error: HTTP 500", 2),
        (None, 400, "bad_request: HTTP 400", 1),
    ],
)
async def test_a_service_that_fails_ends_the_run(
    service: Service, value: Any, status: int, said: str, asked: int
) -> None:
    service.answers(value, status)
    result = only_result(await service.bench.start())
    assert result.error is not None
    assert said in result.error.message
    assert "s3cret" not in result.error.message
    assert len(service.server.requests) == asked


async def test_a_service_in_a_private_place_is_not_called(service: Service) -> None:
    async with GuardedClient(EgressPolicy()) as guarded:
        frameworks = Frameworks({"http": HttpRuntime(guarded)})
        object.__setattr__(service.bench.tools, "frameworks", frameworks)
        result = only_result(await service.bench.start())
    assert result.error is not None
    assert result.error.message.startswith("not_configured: the runtime may not be called")
    assert service.server.requests == []


BASE = "{name: a, version: 1.0.0, category: c, description: d, system_prompt: p"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('runtime: crewai, runtime_url: "https://example.org/"', "only the runtime http has one"),
        ("runtime: http", "the runtime http needs a URL"),
        ('runtime: http, runtime_url: "file:///etc/passwd"', "the runtime http needs a URL"),
        ('runtime: http, runtime_url: "https://user:pw@example.org/"', "the runtime http needs a URL"),
        ('runtime_url: "https://example.org/"', "only the runtime http has one"),
        ("runtime: bash", "/runtime"),
    ],
)
def test_a_runtime_that_can_t_work_is_refused_when_it_is_published(more: str, said: str) -> None:
    with pytest.raises(InvalidDefinition, match="runtime") as refused:
        load_text(f"{BASE}, {more}}}")
    assert said in str(refused.value)


def test_every_runtime_is_described() -> None:
    """What it needs is an extra of the package, and what it can't give is told to whoever reads the definition."""
    declared = get_args(get_type_hints(AgentDefinition)["runtime"])
    assert set(declared) == set(RUNTIMES)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, needs in RUNTIMES.items():
        assert bool(needs.lacks) == (name != "native")
        assert needs.extra in {"", *extras}
        assert (ROOT / f"requirements/runtimes/{name}.lock").exists() == bool(needs.package)


def test_definitions_that_name_no_url_keep_the_hash_that_they_were_published_under() -> None:
    old = AgentDefinition(name="a", version="1.0.0", category="c", description="d", system_prompt="p")
    assert old.definition_hash == "c1d0374cd069001c"
    assert old.replace(runtime="http", runtime_url="https://example.org/").definition_hash != old.definition_hash
