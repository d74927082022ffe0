"""A mesh of real processes, asked by the protocols' own clients (MCP over HTTP and stdio, A2A); and an agent in it that calls an
API by its description, a tool of an MCP server, and Kubernetes.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import a2a_pb2

from headrace.local.endpoints import Endpoints
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from mcp import Client, StdioServerParameters
from tests.runtime.kafka import read_all
from tests.support.mesh import Mesh, running_mesh
from tests.support.stack import own_database, unique_namespace
from tests.tools.servers import always, serving
from tests.tools_openapi.big_spec import big_spec

pytestmark = [pytest.mark.xdist_group("protocols"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


ROOT = Path(__file__).parents[2]
SECRET = "canary-of-the-outside"
CALLER = """
name: caller
version: 1.0.0
category: test
description: Calls the outside.
system_prompt: You are caller.
model: openai:gpt-4o
tools: [openapi_action, tickets__search, delegate_to_agent]
http_domains: ['127.0.0.1']
"""


class Api(BaseHTTPRequestHandler):
    """An API that describes itself at length, and repeats what it is told."""

    SPEC = json.dumps(big_spec()).encode()

    def do_GET(self) -> None:
        told = json.dumps({"path": self.path, "key": self.headers.get("x-api-key")}).encode()
        body = self.SPEC if self.path == "/openapi.json" else told
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def script(api: str) -> Script:
    params = {"openapi_url": f"http://{api}/openapi.json", "operation_id": "kind7/get", "params": {"id": 4}}
    calls = [
        {"name": "openapi_action", "arguments": params | {"auth_profile": "api"}},
        {"name": "tickets__search", "arguments": {"query": "printer", "limit": 1}},
        {"name": "delegate_to_agent", "arguments": {"agent_type": "code_interpreter", "inputs": {"code": "print(1)"}}},
    ]
    rules = [
        {"match": {"system": "You are caller.", "turn": 0}, "reply": {"tool_calls": calls}},
        {"match": {"turn": 1}, "reply": {"text": "all done"}},
    ]
    return Script.model_validate({"rules": rules})


def mcp_file(folder: Path) -> Path:
    server = {"command": [sys.executable, "-m", "tests.mcp.program"], "cwd": str(ROOT)}
    file = folder / "mcp.yaml"
    tickets = server | {"env": {"TICKETS_TOKEN": "${TICKETS_TOKEN}"}, "tools": {"search": {"effect": "none"}}}
    file.write_text(json.dumps({"servers": {"tickets": tickets}}))
    return file


@pytest.fixture(scope="module")
def mesh(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("outside")
    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{api.server_port}"
    profile = {"type": "api_key", "value": SECRET, "hosts": ["127.0.0.1"], "plain_http": True}
    with Simulator(script(address)) as simulator, own_database(stack.database_url) as database_url:
        environment = {
            "HEADRACE_MODEL": "offline",
            "OPENAI_API_KEY": "sk-planted-key-000",
            "OPENAI_BASE_URL": simulator.openai_base_url,
            "HEADRACE_EGRESS_ALLOW_PRIVATE": address,
            "HEADRACE_AUTH_PROFILES": json.dumps({"api": profile}),
            "HEADRACE_MCP_SERVERS": str(mcp_file(folder)),
            "HEADRACE_KUBE_CODE_INTERPRETER_IMAGE": "registry.example.org/agents/python:1",
            "TICKETS_TOKEN": SECRET,
        }
        services = ("gateway", "reasoning", "tools", "persistence")
        with running_mesh(
            stack, unique_namespace(), database_url, services=services[:1], environment=environment
        ) as mesh:
            mesh.cli("mcp", "pin")
            mesh.start(*services[1:], together=services)
            (folder / "caller.yaml").write_text(CALLER)
            mesh.cli("agents", "publish", str(folder / "caller.yaml"))
            mesh.await_agents("caller")
            yield mesh
    api.shutdown()
    api.server_close()


def test_an_agent_calls_the_outside(mesh: Mesh) -> None:
    body = {"agent": "caller", "prompt": "Go."}
    ended = mesh.gateway.post("/v1/runs", params={"wait": 25}, json=body).json()
    assert mesh.run(ended["run_id"])["state"] == "completed", ended
    [record] = read_all(mesh.settings, "tool.results")
    api, tickets, job = json.loads(record.value)["results"]
    assert api["content"] == {"status": 200, "body": {"path": "/v3/kinds7/4", "key": "[secret]"}}
    assert tickets["content"] == {"tickets": ["printer 0"]}
    assert tickets["tool_version"].startswith("mcp-")
    assert (job["status"], job["preview"]["state"]) == ("ok", "dry_run")
    for topic in ("agent.jobs", "tool.calls", "tool.results", "agent.results"):
        assert all(SECRET.encode() not in (record.value or b"") for record in read_all(mesh.settings, topic)), topic
    assert all(SECRET not in mesh.log(name) for name in mesh.processes)


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
    assert "offline" in found["output"]
    return found


async def test_mcp_over_http(mesh: Mesh) -> None:
    async with Client(f"{url(mesh)}/mcp") as client:
        run = await asked(client)
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
            await asked(client)
            pipeline = [{"step": "http_request", "url": rows.url}, {"step": "table_sort", "field": "n"}]
            piped = await client.call_tool("execute_pipeline", {"session_id": "s", "pipeline": pipeline})
            assert piped.structured_content is not None
            assert piped.structured_content["rows"] == [{"n": 1}, {"n": 2}]
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
