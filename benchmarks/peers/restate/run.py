"""Restate: one handler with three durable steps, served by one process over HTTP/2. See README.md."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import restate
import uvloop
from benchmarks.peerkit.client import drive_calls
from benchmarks.peerkit.work import Json, Spec, Steps, ready
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config


def application(spec: Spec) -> Any:
    steps = Steps(spec)
    service = restate.Service(spec.run)

    @service.handler()
    async def run(ctx: restate.Context, invocation: dict) -> dict:  # type: ignore[type-arg]
        call = await ctx.run_typed("model1", steps.model1, invocation=invocation)
        rows = await ctx.run_typed("tool", steps.tool, call=call)
        return await ctx.run_typed("model2", steps.model2, invocation=invocation, rows=rows)

    return restate.app(services=[service])


async def serve(spec: Spec) -> None:
    port = remembered_port(spec)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = 100_000
    config.accesslog = None
    config.loglevel = "WARNING"
    serving = asyncio.create_task(hypercorn_serve(application(spec), config))  # type: ignore[arg-type]
    await asyncio.sleep(0.3)
    admin = spec.servers["restate"].split()[1]
    body = {"uri": f"http://127.0.0.1:{port}", "force": True}
    async with aiohttp.ClientSession() as session, session.post(f"{admin}/deployments", json=body) as response:
        assert response.status < 300, await response.text()
    ready()
    await serving


def remembered_port(spec: Spec) -> int:
    """The same for each worker of a run: a restarted one must be where the server expects it."""
    file = Path(f"{spec.report}.port")
    if not file.exists():
        file.write_text(str(free_port()))
    return int(file.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def call_all(spec: Spec) -> None:
    ingress = spec.servers["restate"].split()[0]
    timeout = aiohttp.ClientTimeout(total=spec.patience_s)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def call(number: int, invocation: Json) -> Json:
            url, key = f"{ingress}/{spec.run}/run", {"idempotency-key": invocation["id"]}
            async with session.post(url, json=invocation, headers=key) as response:
                found: Json = await response.json()
                assert response.status == 200, found
                return found

        await drive_calls(call, spec, spec.in_flight)


def main() -> None:
    spec, command = Spec.given(), sys.argv[1]
    if command != "setup":
        uvloop.run(serve(spec) if command == "worker" else call_all(spec))


if __name__ == "__main__":
    main()
