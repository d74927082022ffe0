"""FastStream on Kafka: a subscriber for each hop, all in one process. See README.md for its modes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import uvloop
from benchmarks.peerkit.work import Json, Spec, Steps, ready
from faststream import AckPolicy


def broker_of(spec: Spec) -> tuple[Any, dict[str, Any]]:
    """The broker, and what every subscriber is given."""
    library, acknowledged = spec.mode.split("-")
    common: dict[str, Any] = {"acks": "all", "enable_idempotence": True, "logger": None}
    if library == "aiokafka":
        from faststream.kafka import KafkaBroker

        common["linger_ms"] = 0
    else:
        from faststream.confluent import KafkaBroker

        common["config"] = {"linger.ms": 0}
    options: dict[str, Any] = {"auto_offset_reset": "earliest"}
    if acknowledged == "first":
        options |= {"ack_policy": AckPolicy.ACK_FIRST, "max_workers": spec.in_flight}
    else:
        options |= {"ack_policy": AckPolicy.ACK}
        if library == "aiokafka":  # it keeps the order within a partition: no more can be at work at once
            options |= {"max_workers": spec.partitions}
    return KafkaBroker(spec.servers["kafka"], **common), options


async def serve(spec: Spec) -> None:
    logging.disable(logging.WARNING)
    broker, options = broker_of(spec)
    steps = Steps(spec)

    def subscriber(name: str) -> Any:
        return broker.subscriber(f"{spec.run}.{name}", group_id=f"{spec.run}.{name}", **options)

    async def publish(state: Json, name: str) -> None:
        await broker.publish(state, f"{spec.run}.{name}", key=state["key"].encode())

    @subscriber("agent.jobs")
    async def first(state: Json) -> None:
        await publish(state | {"call": await steps.model1(state)}, "tool.calls")

    @subscriber("tool.calls")
    async def second(state: Json) -> None:
        await publish(state | {"rows": await steps.tool(state["call"])}, "tool.results")

    @subscriber("tool.results")
    async def third(state: Json) -> None:
        await publish(await steps.model2(state, state["rows"]), "agent.results")

    await broker.start()
    ready()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Spec.given()))
