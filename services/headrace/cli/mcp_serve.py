"""``headrace mcp serve``: the mesh on stdin and stdout, through the gateway's API."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx2
from mcp.server.stdio import stdio_server

from headrace.cli.target import Target, blobs_of, gateway_client
from headrace.egress import EgressSettings, GuardedClient
from headrace.mcp.serving import CallFailed, Execute, server
from headrace.messages.base import JsonObject
from headrace.messages.errors import TransientError
from headrace.tools.api import ToolContext, ToolFailure
from headrace.tools.pipeline.executor import ExecutePipeline
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.wrap.timed import timed

_LONGEST_WAIT_S: Final = 30.0  # of one request to the gateway
_AT_ONCE: Final = 60.0


async def serve_stdio(target: Target, allow: Sequence[str]) -> None:
    """Until the client closes stdin."""
    async with gateway_client(target.gateway_url()) as http, _pipelines(target, allow) as execute:
        made = server(GatewayMesh(http), execute)
        async with stdio_server() as (read, write):
            await made.run(read, write, made.create_initialization_options())


class GatewayMesh:
    """``mcp.serving.Mesh`` over the gateway's API."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def agents(self) -> list[JsonObject]:
        found: list[JsonObject] = (await self._ask("GET", "/v1/agents"))["agents"]
        return found

    async def run(self, request: JsonObject, wait_s: float) -> JsonObject:
        begun = await self._ask("POST", "/v1/runs", json=request)
        return await self._waited(str(begun["run_id"]), wait_s)

    async def get(self, run_id: str) -> JsonObject:
        return await self._waited(run_id, 0)

    async def cancel(self, run_id: str) -> JsonObject:
        await self._ask("POST", f"/v1/runs/{_part(run_id)}/cancel")
        return {"run_id": run_id, "state": "cancelling"}

    async def _waited(self, run_id: str, wait_s: float) -> JsonObject:
        while True:
            seconds = min(wait_s, _LONGEST_WAIT_S)
            run = await self._ask("GET", f"/v1/runs/{_part(run_id)}", params={"wait": seconds})
            wait_s -= seconds
            if run.get("state") == "completed" and (url := run.get("result_url")):
                return run | {"output": (await self._ask("GET", str(url)))["data"]}
            if wait_s <= 0 or run.get("state") == "failed":
                return run

    async def _ask(self, method: str, path: str, **more: Any) -> JsonObject:
        try:
            answer = await self._http.request(method, path, timeout=_AT_ONCE, **more)
            found: JsonObject = answer.json()
        except (httpx2.HTTPError, ValueError):
            raise CallFailed("the gateway does not answer") from None
        if answer.is_success:
            return found
        error = found.get("error") or {}
        raise CallFailed(f"{error.get('code', answer.status_code)}: {error.get('message', 'refused')}")


@asynccontextmanager
async def _pipelines(target: Target, allow: Sequence[str]) -> AsyncIterator[Execute | None]:
    """``execute_pipeline`` in this process, for the hosts that were allowed; results go to the mesh's blob store."""
    if not allow:
        yield None
        return
    settings, egress = target.settings(kafka=False), EgressSettings()
    async with (
        GuardedClient(egress.policy(), ca_file=egress.ca_file) as client,
        blobs_of(settings) as blobs,
        JqPool() as jq,
    ):
        tool = ExecutePipeline(client, blobs, jq)
        run = timed(tool.timeout_s, tool.run)
        context = ToolContext(
            tenant=settings.tenant,
            run_id="mcp",
            agent="mcp",
            tools=(tool.spec.name,),
            domains=tuple(allow),
            idempotency_key="",
            remaining_s=tool.timeout_s,
        )

        async def execute(arguments: JsonObject) -> Any:
            try:
                return (await run(arguments, context._replace(idempotency_key=str(uuid.uuid4())))).content
            except ToolFailure as failure:
                step = f" (step {failure.step})" if failure.step else ""
                raise CallFailed(f"{failure.type}: {failure}{step}") from None
            except TransientError as error:
                raise CallFailed(f"unavailable: {error}") from None

        yield execute


def _part(text: str) -> str:
    """``text`` as one part of a path, whatever is in it."""
    return quote(text, safe="")
