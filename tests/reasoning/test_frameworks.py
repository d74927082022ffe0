"""The same definition by other runtimes: a service over HTTP, a LangGraph graph. Their runs are chains of records too."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.messages.agent import AgentDefinition
from headrace.messages.result import AgentResult
from headrace.messages.run import ToolCalls
from headrace.models.resolve import Models
from headrace.models.retry import RetryPolicy
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.frameworks.http import HttpRuntime
from headrace.registry.load import InvalidDefinition, load_text
from headrace.simulator.server import Simulator
from tests.containment.hostile import Server
from tests.reasoning.bench import VERDICT_SCHEMA, Bench, ScriptedModel, answered, definition, only_calls, only_result
from tests.support.simulator import script, settings_for

PIPELINE = {"session_id": "s", "pipeline": [{"step": "top_k", "k": 3}]}
ASKS = {"text": "Looking.", "tool_calls": [{"name": "execute_pipeline", "arguments": PIPELINE}] * 2}
ANSWER = {"risk": "high", "note": "row-7"}
with_langgraph = pytest.mark.skipif(
    importlib.util.find_spec("langgraph") is None, reason="the extra langgraph is not installed: make runtimes"
)


@pytest.fixture
async def models(simulator: Simulator) -> AsyncIterator[Models]:
    made = Models(settings_for(simulator, model_attempts=2))
    yield made
    await made.close()


async def records(bench: Bench) -> tuple[ToolCalls, AgentResult]:
    calls = only_calls(await bench.start())
    return calls, await bench.resume(answered(calls, {"id": "row-7"}, {"id": "row-8"}))


@with_langgraph
async def test_a_graph_makes_the_very_records_that_native_makes(simulator: Simulator, models: Models) -> None:
    rules = (
        {"match": {"turn": 0}, "reply": ASKS},
        {"match": {"last_tool": "row-7"}, "reply": {"json": ANSWER}},
    )
    made = {}
    for runtime in ("native", "langgraph"):
        simulator.play(script(*rules))
        bench = Bench(models, definition(output_schema=VERDICT_SCHEMA, runtime=runtime))
        made[runtime] = await records(bench)
        assert bench.tools.frameworks._made.keys() == ({"langgraph"} if runtime == "langgraph" else set())
    calls, result = made["langgraph"]
    assert [call.arguments for call in calls.calls] == [PIPELINE, PIPELINE]
    assert (result.status, result.output, result.usage.model_calls) == ("completed", ANSWER, 2)
    native_calls, native_result = made["native"]
    assert [call.idempotency_key for call in calls.calls] == [call.idempotency_key for call in native_calls.calls]
    assert calls.turns[0].text == native_calls.turns[0].text
    assert result.usage == native_result.usage
    sent = [orjson.loads(request.raw)["messages"] for request in simulator.requests]
    assert sent[-1] == sent[1], "the model is asked the same, byte for byte"


@with_langgraph
async def test_a_model_that_fails_within_a_graph_fails_as_itself(simulator: Simulator, models: Models) -> None:
    simulator.play(script({"reply": {"status": 401, "message": "no"}}))
    result = only_result(await Bench(models, definition(runtime="langgraph")).start())
    assert result.error is not None
    assert result.error.type == "model_error"
    assert result.error.message.startswith("authentication")


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


def test_definitions_that_name_no_url_keep_the_hash_that_they_were_published_under() -> None:
    old = AgentDefinition(name="a", version="1.0.0", category="c", description="d", system_prompt="p")
    assert old.definition_hash == "c1d0374cd069001c"
    assert old.replace(runtime="http", runtime_url="https://example.org/").definition_hash != old.definition_hash
