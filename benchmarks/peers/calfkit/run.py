"""Calfkit: an agent node with a stub model and a tool node on Kafka, in one worker. See README.md."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from benchmarks.peerkit import work
from benchmarks.peerkit.client import drive_calls
from benchmarks.peerkit.work import Json, Spec, Steps, ready
from calfkit import Agent, Client, ProvisioningConfig, Worker, agent_tool
from calfkit._vendor.pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from calfkit._vendor.pydantic_ai.models.function import FunctionModel

OPEN = 2_000  # handles that the client holds besides those in flight


def connect(spec: Spec, inbox: str) -> Any:
    return Client.connect(
        spec.servers["kafka"],
        inbox_topic=f"{spec.run}.{inbox}",
        provisioning=ProvisioningConfig(enabled=True),
        enable_idempotence=True,
    )


def nodes(spec: Spec) -> list[Any]:
    steps, tool_name = Steps(spec), f"lookup_{spec.run}"

    @agent_tool(name=tool_name)
    async def lookup(q: str, k: str) -> str:
        """Look something up."""
        rows = await steps.tool({"args": {"q": q, "k": k}})
        return str(rows["rows"])

    async def model(messages: list[Any], _info: Any) -> ModelResponse:
        parts = [part for message in messages for part in message.parts]
        prompt = next(part.content for part in parts if isinstance(part, UserPromptPart))
        invocation = json.loads(prompt)
        for part in reversed(parts):
            if isinstance(part, ToolReturnPart):
                result = await steps.model2(invocation, {"rows": part.content})
                return ModelResponse(parts=[TextPart(work.dumps(result).decode())])
        call = await steps.model1(invocation)
        return ModelResponse(parts=[ToolCallPart(tool_name, call["args"])])

    agent = Agent(name=spec.run, system_prompt="bench", model_client=FunctionModel(model), tools=[lookup])
    return [agent, lookup]


async def serve(spec: Spec) -> None:
    worker = Worker(connect(spec, "worker"), nodes=nodes(spec), max_workers=spec.in_flight)
    await worker.start()
    ready()
    await asyncio.Event().wait()


async def call_all(spec: Spec) -> None:
    async with connect(spec, "client") as client:
        gateway = client.agent(spec.run)

        async def call(number: int, invocation: Json) -> Json:
            handle = await gateway.start(work.dumps(invocation).decode(), correlation_id=invocation["id"])
            answer = await handle.result(timeout=spec.patience_s)
            found: Json = json.loads(answer.output)
            return found

        await drive_calls(call, spec, spec.in_flight + OPEN)


def main() -> None:
    logging.disable(logging.INFO)
    spec, command = Spec.given(), sys.argv[1]
    if command != "setup":
        asyncio.run(serve(spec) if command == "worker" else call_all(spec))


if __name__ == "__main__":
    main()
