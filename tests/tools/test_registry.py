"""What is put around a tool: allow-list, arguments, timeout, bound; and what the registry refuses to take in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.egress import EgressPolicy, GuardedClient
from headrace.tools.api import ToolContext, ToolFailure
from headrace.tools.delegate.tool import DelegateToAgent
from headrace.tools.openapi.action import OpenapiAction
from headrace.tools.pipeline.executor import ExecutePipeline
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.registry import ToolRegistry
from headrace.tools.search import SearchTools
from headrace.tools.workflow.patch import PatchWorkflow, orchestrator_client
from headrace.toolspecs import SPECS, version
from headrace.toolspecs.execute_pipeline import STEPS
from tests.tools.helpers import CONTEXT, FakeTool, granted

SCHEMA = {
    "type": "object",
    "required": ["n"],
    "additionalProperties": False,
    "properties": {
        "n": {"type": "integer", "minimum": 1},
        "items": {"type": "array", "items": {"type": "object", "properties": {"a/b": {"type": "string"}}}},
    },
}


async def echo(arguments: dict[str, Any], context: ToolContext) -> Any:
    return arguments


async def failure(
    registry: ToolRegistry, name: str, arguments: dict[str, Any], context: ToolContext = CONTEXT
) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await registry.run(name, arguments, context)
    return caught.value


async def test_a_call_within_the_rules() -> None:
    registry = ToolRegistry([FakeTool("echo", echo, parameters=SCHEMA)])
    assert (await registry.run("echo", {"n": 1}, CONTEXT)).content == {"n": 1}
    assert (registry.names(), registry.version("echo"), registry.version("nope")) == (["echo"], "1.2.3", None)


async def test_an_unknown_tool_is_refused_with_what_there_is() -> None:
    """Of what its agent may use: a model is told of no other tools."""
    caught = await failure(ToolRegistry([FakeTool("echo", echo), FakeTool("others", echo)]), "nope", {})
    assert (caught.type, str(caught)) == ("unknown_tool", "there is no tool 'nope'; there are: echo")


async def test_a_tool_off_the_agents_list_never_runs() -> None:
    ran = False

    async def mark(arguments: dict[str, Any], context: ToolContext) -> Any:
        nonlocal ran
        ran = True

    registry = ToolRegistry([FakeTool("echo", mark, parameters=SCHEMA)])
    caught = await failure(registry, "echo", {"n": "not even looked at"}, granted(tools=("other",)))
    assert (caught.type, ran) == ("not_allowed", False)


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({}, '/: "n" is a required property'),
        ({"n": 0}, "/n: 0 is less than the minimum of 1"),
        ({"n": "1"}, '/n: "1" is not of type "integer"'),
        ({"n": True}, '/n: true is not of type "integer"'),
        ({"n": 1, "m": 2}, "/: Additional properties are not allowed"),
        ({"n": 1, "items": [{}, {"a/b": 1}]}, "/items/1/a~1b: 1 is not of type"),
    ],
)
async def test_wrong_arguments_are_named_by_path(arguments: dict[str, Any], pointer: str) -> None:
    caught = await failure(ToolRegistry([FakeTool("echo", echo, parameters=SCHEMA)]), "echo", arguments)
    assert caught.type == "invalid_arguments"
    assert str(caught).startswith(pointer)


async def test_what_is_said_about_wrong_arguments_is_bounded() -> None:
    registry = ToolRegistry(
        [FakeTool("echo", echo, parameters={"type": "object", "additionalProperties": {"type": "integer"}})]
    )
    caught = await failure(registry, "echo", {f"k{n}": "x" * 10_000 for n in range(50)})
    assert len(str(caught)) < 2_000


async def test_a_slow_tool_ends_at_its_timeout_and_at_the_runs() -> None:
    async def slow(arguments: dict[str, Any], context: ToolContext) -> Any:
        await asyncio.sleep(60)

    assert (await failure(ToolRegistry([FakeTool("slow", slow, timeout_s=0.05)]), "slow", {})).type == "timeout"
    registry = ToolRegistry([FakeTool("slow", slow)])
    assert (await failure(registry, "slow", {}, granted(remaining_s=0.05))).type == "timeout"
    assert (await failure(registry, "slow", {}, granted(remaining_s=0.0))).type == "deadline"


async def test_a_timeout_of_the_tools_own_is_not_taken_for_ours() -> None:
    async def own(arguments: dict[str, Any], context: ToolContext) -> Any:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await ToolRegistry([FakeTool("slow", own)]).run("slow", {}, CONTEXT)


@pytest.mark.parametrize(("content", "type_"), [("x" * 2_000, "too_large"), (object(), "internal_error")])
async def test_output_is_json_and_bounded(content: Any, type_: str) -> None:
    async def give(arguments: dict[str, Any], context: ToolContext) -> Any:
        return content

    assert (await failure(ToolRegistry([FakeTool("huge", give)], max_output_bytes=1_000), "huge", {})).type == type_


def test_a_once_tool_is_refused_where_no_intents_are_kept() -> None:
    with pytest.raises(ValueError, match="'once'"):
        ToolRegistry([FakeTool("pay", echo, effect="once")])


def test_two_tools_of_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two tools"):
        ToolRegistry([FakeTool("echo", echo), FakeTool("echo", echo)])


def test_a_schema_that_reaches_out_is_refused(tmp_path: Path) -> None:
    there = tmp_path / "schema.json"
    there.write_text('{"type": "object"}')
    with pytest.raises(ValueError, match="must not fetch"):
        ToolRegistry([FakeTool("echo", echo, parameters={"$ref": there.as_uri()})])
    with pytest.raises(ValueError, match="must not fetch"):
        ToolRegistry([FakeTool("echo", echo, parameters={"$ref": "http://127.0.0.1:1/schema.json"})])


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ToolRegistry([FakeTool("echo", echo, parameters={"type": "nonsense"})])


async def test_published_specs_and_tools_are_the_same() -> None:
    async with GuardedClient(EgressPolicy()) as client:
        pipeline = ExecutePipeline(client, MemoryBlobs(), JqPool())
        others = [SearchTools(None), OpenapiAction(client, MemoryBlobs(), {}), DelegateToAgent({})]  # type: ignore[arg-type]
        registry = ToolRegistry([pipeline, *others, PatchWorkflow(orchestrator_client("http://127.0.0.1:8080", None))])
        assert registry.names() == sorted(SPECS)
        assert [registry.version(name) for name in SPECS] == [version(name) for name in SPECS]
        drifted = FakeTool("execute_pipeline", echo)
        drifted.spec = replace(SPECS["execute_pipeline"], description="another")
        with pytest.raises(ValueError, match="published spec"):
            ToolRegistry([drifted])


async def test_a_step_that_does_not_exist_is_refused_by_name() -> None:
    async with GuardedClient(EgressPolicy()) as client:
        registry = ToolRegistry([ExecutePipeline(client, MemoryBlobs(), JqPool())])
        asked = {"session_id": "s", "pipeline": [{"step": "pivot", "field": "a"}]}
        caught = await failure(registry, "execute_pipeline", asked)
        assert caught.type == "invalid_arguments"
        assert caught.step == "pivot"
        there_are = ", ".join(f'"{step}"' for step in STEPS)
        assert str(caught) == f'/pipeline/0/step: "pivot" is not one of {there_are}'
        wrong = [{"step": "http_request", "url": "a.example"}, {"step": "table_sort", "field": "a", "order": "down"}]
        caught = await failure(registry, "execute_pipeline", {"session_id": "s", "pipeline": wrong})
        assert (caught.step, str(caught)) == ("table_sort", '/pipeline/1/order: "down" is not one of "asc", "desc"')
        caught = await failure(registry, "execute_pipeline", {"session_id": "s", "pipeline": wrong * 50})
        assert "has more than 30 items" in str(caught)
        for arguments in (
            {"pipeline": []},
            {"session_id": "s", "pipeline": []},
            {"session_id": "s", "pipeline": [{}], "x": 1},
        ):
            assert (await failure(registry, "execute_pipeline", arguments)).type == "invalid_arguments"
