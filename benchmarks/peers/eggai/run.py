"""EggAI on Kafka: an agent for the model and one for the tool, in one process. See README.md for its modes."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from benchmarks.peerkit.work import Json, Spec, Steps, ready

SPEC = Spec.given()
os.environ["EGGAI_NAMESPACE"] = SPEC.run  # read when the library is imported

from eggai import Agent, Channel  # noqa: E402
from eggai.transport import KafkaTransport  # noqa: E402
from faststream import AckPolicy  # noqa: E402


def transport() -> KafkaTransport:
    """One for each agent: of several agents on one transport only the first ever consumes, without a word."""
    return KafkaTransport(
        bootstrap_servers=SPEC.servers["kafka"], acks="all", enable_idempotence=True, num_partitions=SPEC.partitions
    )


async def serve() -> None:
    logging.disable(logging.INFO)
    steps = Steps(SPEC)
    options: dict[str, Any] = {
        "first": {"max_workers": SPEC.in_flight, "ack_policy": AckPolicy.ACK_FIRST},
        "after": {"max_workers": SPEC.partitions, "ack_policy": AckPolicy.ACK},
    }[SPEC.mode]
    model, tools, out = Agent("model", transport=transport()), Agent("tools", transport=transport()), transport()
    await out.connect()
    names = ("agent.jobs", "tool.calls", "tool.results", "agent.results")
    channels = {name: Channel(name, transport=out) for name in names}

    def subscriber(agent: Agent, name: str) -> Any:
        group = f"{SPEC.run}.{name}"
        return agent.subscribe(channel=channels[name], group_id=group, auto_offset_reset="earliest", **options)

    @subscriber(model, "agent.jobs")
    async def first(state: Json) -> None:
        await channels["tool.calls"].publish(state | {"call": await steps.model1(state)})

    @subscriber(tools, "tool.calls")
    async def second(state: Json) -> None:
        await channels["tool.results"].publish(state | {"rows": await steps.tool(state["call"])})

    @subscriber(model, "tool.results")
    async def third(state: Json) -> None:
        await channels["agent.results"].publish(await steps.model2(state, state["rows"]))

    for agent in (model, tools):
        await agent.start()
    ready()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
