"""quixstreams: a streaming dataframe for each hop, in one Application. See README.md."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.peerkit.work import Blocking, Json, Spec, ready
from quixstreams import Application

COMMIT_EVERY_S = 0.1  # its default of 5 s would make each hop visible 5 s later


def main() -> None:
    spec = Spec.given()
    app = Application(
        broker_address=spec.servers["kafka"],
        consumer_group=f"{spec.run}.worker",
        auto_offset_reset="earliest",
        commit_interval=COMMIT_EVERY_S,
        processing_guarantee=spec.mode,
        state_dir=tempfile.mkdtemp(prefix="quix-", dir=Path(spec.report).parent),
        auto_create_topics=False,
        loglevel="WARNING",
        consumer_poll_timeout=0.05,
        consumer_extra_config={
            "session.timeout.ms": 10_000
        },  # its default of 45 s would keep a restarted worker waiting
        producer_extra_config={
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 10,
        },
    )
    names = ("agent.jobs", "tool.calls", "tool.results", "agent.results")
    topics = {
        name: app.topic(f"{spec.run}.{name}", value_deserializer="json", value_serializer="json") for name in names
    }
    steps = Blocking(spec)

    def first(state: Json) -> Json:
        return state | {"call": steps.model1(state)}

    def second(state: Json) -> Json:
        return state | {"rows": steps.tool(state["call"])}

    def third(state: Json) -> Json:
        return steps.model2(state, state["rows"])

    app.dataframe(topics["agent.jobs"]).apply(first).to_topic(topics["tool.calls"])
    app.dataframe(topics["tool.calls"]).apply(second).to_topic(topics["tool.results"])
    app.dataframe(topics["tool.results"]).apply(third).to_topic(topics["agent.results"])
    ready()
    app.run()


if __name__ == "__main__":
    main()
