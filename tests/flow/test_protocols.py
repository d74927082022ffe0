"""A mesh of real processes, asked by the protocols' own clients: MCP over HTTP and stdio, A2A."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import a2a_pb2

from headrace.local.endpoints import Endpoints
from mcp import Client, StdioServerParameters
from tests.support.mesh import Mesh, running_mesh, until
from tests.support.stack import own_database, unique_namespace
from tests.tools.servers import always, serving

pytestmark = [pytest.mark.xdist_group("protocols"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def mesh(stack: Endpoints) -> Iterator[Mesh]:
    with own_database(stack.database_url) as database_url:
        environment = {"HEADRACE_MODEL": "offline"}
        services = ("gateway", "reasoning", "persistence")
        with running_mesh(stack, unique_namespace(), database_url, services=services, environment=environment) as mesh:
            until(lambda: mesh.gateway.get("/readyz").status_code == 200, 60, "the gateway has read the agents")
            yield mesh


def url(mesh: Mesh) -> str:
    return f"http://127.0.0.1:{mesh.gateway_port}"


async def asked(client: Client) -> dict[str, Any]:
    """The assistant's answer, by MCP."""
    agents = (await client.call_tool("list_agents", {})).structured_content
    assert agents is not None
    assert "assistant" in [agent["name"] for agent in agents["agents"]]
    ran = await client.call_tool("run_agent", {"agent": "assistant", "prompt": "What can you do?", "wait_s": 60})
    assert not ran.is_error, ran
    found: dict[str, Any] = ran.structured_content
    assert found["state"] == "completed"
    return found


async def test_mcp_over_http(mesh: Mesh) -> None:
    async with Client(f"{url(mesh)}/mcp") as client:
        run = await asked(client)
        assert "offline" in run["output"]
        again = await client.call_tool("get_run", {"run_id": run["run_id"]})
        assert again.structured_content is not None
        assert again.structured_content["output"] == run["output"]


async def test_mcp_on_stdio_with_pipelines(mesh: Mesh, tmp_path: Path) -> None:
    async with serving(always(200, b'[{"n": 2}, {"n": 1}]')) as rows:
        environment = {
            **mesh.environment,
            "HEADRACE_GATEWAY_URL": url(mesh),
            "HEADRACE_EGRESS_ALLOW_PRIVATE": rows.target,
        }
        command = ["-m", "headrace", "mcp", "serve", "--allow", "127.0.0.1"]
        server = StdioServerParameters(command=sys.executable, args=command, env=environment, cwd=tmp_path)
        async with Client(server, read_timeout_seconds=90) as client:
            run = await asked(client)
            assert run["state"] == "completed"
            pipeline = [{"step": "http_request", "url": rows.url}, {"step": "table_sort", "field": "n"}]
            piped = await client.call_tool("execute_pipeline", {"session_id": "s", "pipeline": pipeline})
            assert piped.structured_content == {"type": "dataset", "row_count": 2, "rows": [{"n": 1}, {"n": 2}]}
            elsewhere = [{"step": "http_request", "url": "https://example.org"}]
            refused = await client.call_tool("execute_pipeline", {"session_id": "s", "pipeline": elsewhere})
            assert refused.is_error
            assert "egress_denied" in str(refused.content)


async def test_a2a(mesh: Mesh) -> None:
    async with httpx.AsyncClient(timeout=90, trust_env=False) as http:
        card = await A2ACardResolver(http, url(mesh)).get_agent_card()
        assert card.name == "assistant"
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(card)
        part = a2a_pb2.Part(text="What can you do?")
        message = a2a_pb2.Message(message_id="m-1", role=a2a_pb2.ROLE_USER, parts=[part])
        [answer] = [one async for one in client.send_message(a2a_pb2.SendMessageRequest(message=message))]
        task = answer.task
        assert task.status.state == a2a_pb2.TASK_STATE_COMPLETED
        assert "offline" in task.artifacts[0].parts[0].text
        found = await client.get_task(a2a_pb2.GetTaskRequest(id=task.id))
        assert found.artifacts == task.artifacts
