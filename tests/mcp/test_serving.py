"""headrace as an MCP server, asked by the protocol's own client: over a stand-in mesh, and over the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from headrace.mcp.serving import CallFailed, server
from headrace.messages.job import Job
from mcp import Client
from tests.gateway.support import Gateway

Arguments = dict[str, Any]


class OneRun:
    """A mesh of one agent."""

    def __init__(self) -> None:
        self.asked: list[tuple[Arguments, float]] = []

    async def agents(self) -> list[Arguments]:
        return [{"name": "assistant"}]

    async def run(self, request: Arguments, wait_s: float) -> Arguments:
        self.asked.append((request, wait_s))
        return {"run_id": "r-1", "state": "completed", "output": "hello"}

    async def get(self, run_id: str) -> Arguments:
        raise CallFailed("unknown_run: no such run")

    async def cancel(self, run_id: str) -> Arguments:
        return {"run_id": run_id, "state": "cancelling"}


def text(result: CallToolResult) -> str:
    [block] = result.content
    assert isinstance(block, TextContent)
    return block.text


async def test_tools_and_their_schemas() -> None:
    mesh = OneRun()

    async def execute(arguments: Arguments) -> Any:
        return {"type": "dataset", "row_count": len(arguments["pipeline"])}

    async with Client(server(mesh, execute)) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["list_agents", "run_agent", "get_run", "cancel_run", "execute_pipeline"]
        ran = await client.call_tool("run_agent", {"agent": "assistant", "prompt": "hi", "wait_s": 5})
        assert (ran.is_error, ran.structured_content) == (
            False,
            {"run_id": "r-1", "state": "completed", "output": "hello"},
        )
        assert mesh.asked == [({"agent": "assistant", "prompt": "hi"}, 5)]
        piped = await client.call_tool("execute_pipeline", {"session_id": "s", "pipeline": [{"step": "top_k", "k": 1}]})
        assert piped.structured_content == {"type": "dataset", "row_count": 1}
        for name, arguments, said in [
            ("run_agent", {"prompt": "hi"}, '"agent" is a required property'),
            ("run_agent", {"agent": "a", "system_prompt": "x"}, "Additional properties"),
            ("get_run", {"run_id": "r-2"}, "unknown_run: no such run"),
            ("execute_pipeline", {"session_id": "s", "pipeline": []}, "/pipeline"),
            ("nothing", {}, "there is no tool 'nothing'"),
        ]:
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert said in text(refused)
    async with Client(server(mesh)) as client:
        assert "execute_pipeline" not in [tool.name for tool in (await client.list_tools()).tools]


@asynccontextmanager
async def connected(gateway: Gateway, mode: str) -> AsyncIterator[Client]:
    transport = httpx2.ASGITransport(app=gateway.app)
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        Client(streamable_http_client("http://gateway.test/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_gateway_runs_agents(mode: str) -> None:
    gateway = Gateway()
    async with connected(gateway, mode) as client:
        listed = await client.call_tool("list_agents", {})
        assert listed.structured_content is not None
        assert [agent["name"] for agent in listed.structured_content["agents"]] == ["pr-reviewer"]
        assert "planted-system-prompt" not in text(listed)
        started = await client.call_tool("run_agent", {"agent": "pr-reviewer", "input": {"title": "Fix"}, "wait_s": 0})
        assert started.structured_content is not None
        run_id = started.structured_content["run_id"]
        job = gateway.publisher.sends[-1].message
        assert isinstance(job, Job)
        assert (job.job_id, job.input) == (run_id, {"title": "Fix"})
        gateway.index.end(run_id, "pr-reviewer", output="looks good")
        found = await client.call_tool("get_run", {"run_id": run_id})
        assert found.structured_content is not None
        assert (found.structured_content["state"], found.structured_content["output"]) == ("completed", "looks good")
        for name, arguments, said in [
            ("run_agent", {"agent": "nobody", "prompt": "x"}, "unknown_agent"),
            ("run_agent", {"agent": "pr-reviewer", "input": {}}, "input_schema"),
            ("get_run", {"run_id": "unknown"}, "unknown_run"),
            ("cancel_run", {"run_id": run_id}, "run_ended"),
        ]:
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert said in text(refused)


async def test_no_browser_gets_in() -> None:
    gateway = Gateway()
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "origin": "https://evil.example",
    }
    answer = await gateway.post("/mcp", b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', headers)
    assert answer.status_code == 403
