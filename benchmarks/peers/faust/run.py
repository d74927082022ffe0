"""faust-streaming: an agent for each hop, in one worker. See README.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import faust
from benchmarks.peerkit.work import Spec, Steps, ready


def main() -> None:
    spec = Spec.given()
    steps = Steps(spec)
    app = faust.App(
        f"{spec.run}.worker",
        broker=f"kafka://{spec.servers['kafka']}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="faust-", dir=Path(spec.report).parent),
        topic_partitions=spec.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        producer_acks=-1,
        producer_linger=0,
        value_serializer="json",
        key_serializer="raw",
        broker_commit_interval=1.0,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=8192,
        broker_session_timeout=10.0,  # its default of 60 s would keep a restarted worker waiting as long
        broker_heartbeat_interval=3.0,
    )
    names = ("agent.jobs", "tool.calls", "tool.results", "agent.results")
    topics = {
        name: app.topic(f"{spec.run}.{name}", value_serializer="json", key_serializer="raw", acks=True)
        for name in names
    }
    # Past a concurrency of 1 the records of one key are not in order any more: only where calls take time, which needs it.
    many: dict[str, Any] = {"concurrency": spec.in_flight} if spec.model_s or spec.tool_s else {}

    @app.agent(topics["agent.jobs"], **many)
    async def first(stream: Any) -> None:
        async for state in stream:
            sent = state | {"call": await steps.model1(state)}
            await topics["tool.calls"].send(key=state["key"].encode(), value=sent)

    @app.agent(topics["tool.calls"], **many)
    async def second(stream: Any) -> None:
        async for state in stream:
            sent = state | {"rows": await steps.tool(state["call"])}
            await topics["tool.results"].send(key=state["key"].encode(), value=sent)

    @app.agent(topics["tool.results"], **many)
    async def third(stream: Any) -> None:
        async for state in stream:
            sent = await steps.model2(state, state["rows"])
            await topics["agent.results"].send(key=state["key"].encode(), value=sent)

    ready()
    sys.argv[1:] = []
    faust.Worker(app, loglevel="warning", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
