"""Callback tools: what their service is told and who else learns of it, what it may refuse, and files that are wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from headrace.auth import callbacks
from headrace.auth_profiles import AuthProfiles
from headrace.blobs.memory import MemoryBlobs
from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.messages.base import Message
from headrace.messages.errors import FatalError
from headrace.messages.ids import pending_id
from headrace.messages.run import ToolError, ToolResults
from headrace.messages.wait import RunWait
from headrace.registry.load import load_text
from headrace.tools.callbacks import callback_tools
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.settings import ToolsSettings
from headrace.toolspecs import SPECS
from headrace.toolspecs.callback_tools import read_callback_tools
from headrace.toolspecs.pinned import known
from headrace.toolspecs.spec import BadToolFile
from tests.tools.helpers import Definitions, call, calls, context, definition
from tests.tools.servers import Script, Seen, Server, always, response, serving

SECRET = "planted-secret-of-callbacks-0123456789"
KEY = "planted-key-of-the-service"
MONTH = {"month": "2026-11"}
TOOL = {
    "description": "Exports the orders of a month.",
    "parameters": {"type": "object", "required": ["month"]},
    "timeout_s": 90,
}
WAIT = pending_id("acme", "run-1", 3, 0, "c1")


def file_of(folder: Path, **tool: Any) -> Path:
    file = folder / "callbacks.yaml"
    file.write_text(yaml.safe_dump({"tools": {"export_orders": TOOL | tool}}))
    return file


class World:
    """The tools service with the tool of a file; its clock stands at 1 s."""

    def __init__(self, server: Server, client: GuardedClient) -> None:
        self.server = server
        there = {"hosts": ["127.0.0.1"], "plain_http": True}
        oauth = {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "mesh", "client_secret": KEY}
        found = {"exports": {"type": "bearer", "token": KEY} | there, "oauth": oauth | there}
        profiles = AuthProfiles.model_validate({"auth_profiles": found}).auth_profiles
        self._registry = ToolRegistry(callback_tools(client, profiles))

    async def handle(self, arguments: dict[str, Any] = MONTH, **grants: Any) -> Message:
        agent = definition(**{"tools": ("export_orders",)} | grants)
        settings = ToolsSettings(_env_file=None)
        processor = ToolsProcessor(
            self._registry, MemoryBlobs(), Definitions(agent), settings, now=lambda: 1.0, timer=lambda: 0.0
        )
        (send,) = await processor.handle(calls(call("export_orders", arguments=arguments)), context())
        return send.message

    async def failure(self, **grants: Any) -> ToolError:
        message = await self.handle(**grants)
        assert isinstance(message, ToolResults)
        (outcome,) = message.results
        assert outcome.error is not None
        return outcome.error


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("HEADRACE_CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("HEADRACE_CALLBACK_URL", "https://mesh.example.org/")
    return monkeypatch


@asynccontextmanager
async def world(
    environment: pytest.MonkeyPatch, folder: Path, script: Script, *, private: bool = True, **tool: Any
) -> AsyncIterator[World]:
    async with serving(script) as server:
        where = {"url": f"{server.url}/jobs?kind=a", "auth_profile": "exports"} | tool
        environment.setenv("HEADRACE_CALLBACK_TOOLS", str(file_of(folder, **where)))
        policy = EgressPolicy(private=PrivateTargets.parse([server.target] if private else []))
        async with GuardedClient(policy) as client:
            yield World(server, client)


async def test_a_service_is_told_where_to_report_and_nobody_else_is(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world(environment, tmp_path, always(202, b"taken")) as mesh:
        wait, again = await mesh.handle(), await mesh.handle()
    assert isinstance(wait, RunWait)
    (pending,) = wait.pending
    assert (pending.kind, pending.deadline_ms, wait.results) == ("callback", 91_000, ())
    first, second = mesh.server.requests
    assert (first.method, first.target, first.json) == ("POST", "/jobs?kind=a", MONTH)
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["headrace-callback-url"] == f"https://mesh.example.org/v1/waits/{WAIT}/callback"
    token = first.headers["headrace-callback-token"]
    assert callbacks.opens(token, [SECRET.encode()], "acme", WAIT)
    assert first.headers["idempotency-key"] == "key-c1"
    assert second == first, "a call that is made again is the same to its service"
    assert again == wait
    told = msgspec.json.encode(wait).decode() + "".join(capsys.readouterr())
    assert token not in told
    assert KEY not in told


async def echo(seen: Seen, writer: Any) -> None:
    writer.write(response(422, json.dumps(seen.headers).encode()))


async def test_a_refusal_is_read_without_the_token(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with world(environment, tmp_path, echo) as mesh:
        error = await mesh.failure()
    assert (error.type, error.retryable) == ("http_status", False)
    assert "HTTP status 422" in error.message
    assert '"headrace-callback-token": "[secret]"' in error.message
    assert KEY not in error.message
    async with world(environment, tmp_path, always(503)) as mesh:
        assert (await mesh.failure()).retryable
    async with world(environment, tmp_path, always(307, headers=[("location", "/elsewhere")])) as mesh:
        assert (await mesh.failure()).type == "egress_denied"
        assert len(mesh.server.requests) == 1, "a redirect of a POST is not followed"


async def test_a_token_that_is_refused_is_renewed_once(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def refuse(seen: Seen, writer: Any) -> None:
        token = b'{"access_token": "a-new-token", "token_type": "bearer", "expires_in": 600}'
        writer.write(response(200, token) if seen.target == "/token" else response(401))

    async with world(environment, tmp_path, refuse, auth_profile="oauth") as mesh:
        error = await mesh.failure()
        assert (error.type, error.retryable) == ("http_status", False)
        assert [one.target for one in mesh.server.requests] == ["/token", "/jobs?kind=a"] * 2


async def test_what_is_not_allowed_is_not_sent(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with world(environment, tmp_path, always(202)) as mesh:
        assert (await mesh.failure(http_domains=("api.example.org",))).type == "egress_denied"
        assert (await mesh.failure(tools=("execute_pipeline",))).type == "not_allowed"
        assert (await mesh.failure(arguments={})).type == "invalid_arguments"
        waits = await mesh.handle(approvals={})
        assert isinstance(waits, RunWait)
        assert waits.pending[0].kind == "approval"
        assert mesh.server.requests == []
    async with world(environment, tmp_path, always(202), private=False) as mesh:
        assert (await mesh.failure()).type == "egress_denied"
    async with world(environment, tmp_path, always(202), auth_profile="others") as mesh:
        assert (await mesh.failure()).type == "auth_profile"
        assert mesh.server.connections == 0


async def test_agents_may_name_them(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    agent = "name: a\nversion: 1.0.0\ncategory: c\ndescription: d\nsystem_prompt: p\ntools: [export_orders]\n"
    file = file_of(tmp_path, url="https://exports.example.org/jobs")
    environment.setenv("HEADRACE_CALLBACK_TOOLS", str(file))
    assert load_text(agent).tools == ("export_orders",)
    assert set(known()) == {*SPECS, "export_orders"}
    spec = known()["export_orders"]
    assert (spec.effect, spec.description, spec.parameters) == ("idempotent", TOOL["description"], TOOL["parameters"])
    other = read_callback_tools(file)["export_orders"].model_copy(update={"url": "https://exports.example.org/v2"})
    assert other.spec("export_orders").version != spec.version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tools: [}", "not YAML \\(line 1\\)"),
        ("tools: {Export: {description: d, url: 'https://a.b'}}", "/tools/Export"),
        ("tools: {export: {description: d}}", "/tools/export/url: Field required"),
        ("tools: {export: {description: d, url: 'ftp://planted'}}", "/tools/export/url"),
        ("tools: {export: {description: d, url: 'https://a.b', token: planted}}", "/tools/export/token"),
        ("tools: {openapi_action: {description: d, url: 'https://a.b'}}", "openapi_action is a tool of headrace"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "callbacks.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadToolFile, match=said) as caught:
        read_callback_tools(file)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("missing", ["HEADRACE_CALLBACK_SECRET", "HEADRACE_CALLBACK_URL"])
async def test_a_service_that_could_not_be_told_where_to_report_does_not_start(
    environment: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    environment.setenv("HEADRACE_CALLBACK_TOOLS", str(file_of(tmp_path, url="https://a.b")))
    environment.delenv(missing)
    async with GuardedClient(EgressPolicy()) as client:
        with pytest.raises(FatalError, match=missing):
            callback_tools(client, {})
        environment.delenv("HEADRACE_CALLBACK_TOOLS")
        assert callback_tools(client, {}) == []
