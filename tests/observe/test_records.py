"""Spans of records, from the real worker on a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.local.endpoints import Endpoints
from headrace.messages import headers as record_headers
from headrace.observe import tracing
from headrace.settings import MeshSettings
from tests.runtime.kafka import make_topics, produce, read_all
from tests.runtime.relay import TOPICS, Relay, job, settings_for
from tests.runtime.running import running, until

JOBS = {0: "x", 1: "flaky:2", 2: "poison", 3: "flaky:99"}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing.use(provider.get_tracer("test"))
    yield memory
    tracing.use(None)


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    settings = settings_for(stack, namespace)
    make_topics(settings, TOPICS)
    return settings


async def test_attempts_are_events_dead_letters_failures_and_commits_links(
    settings: MeshSettings, spans: InMemorySpanExporter
) -> None:
    # One key: each record but the first is started by the end of the one before it, in that one's context.
    produce(settings, "agent.jobs", (job(number, "key", prompt) for number, prompt in JOBS.items()))
    async with running(settings, Relay()) as worker:
        await until(lambda: worker.status()["finished"] == len(JOBS))
    ended = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    processed = {span["attributes"]["messaging.message.body.size"]: span for span in ended if _is(span, "process")}
    assert len(processed) == len(JOBS)
    by_events: dict[int, dict[str, Any]] = {len(span["events"]): span for span in processed.values()}
    failures = [span["attributes"].get("error.type") for span in processed.values()]
    assert sorted(filter(None, failures)) == ["ValueError", "poison"]
    assert [event["attributes"]["headrace.attempt"] for event in by_events[2]["events"]] == [1, 2]
    assert by_events[2]["status"]["status_code"] == "UNSET"
    assert [event["attributes"]["error.type"] for event in by_events[3]["events"]] == ["ValueError"] * 3
    assert by_events[3]["status"]["status_code"] == "ERROR"
    assert len({span["context"]["trace_id"] for span in processed.values()}) == len(JOBS)

    linked = {link["context"]["span_id"] for span in ended if _is(span, "commit") for link in span["links"]}
    assert linked == {span["context"]["span_id"] for span in processed.values()}
    created = {span["context"]["span_id"]: span for span in ended if _is(span, "create")}
    for topic in ("relayed", "copied"):
        for record in read_all(settings, topic):
            _, trace_id, span_id, _ = record.headers[record_headers.TRACEPARENT].split("-")
            span = created[f"0x{span_id}"]
            assert span["context"]["trace_id"] == f"0x{trace_id}"
            assert span["parent_id"] in {s["context"]["span_id"] for s in processed.values()}
            assert span["attributes"]["messaging.destination.name"] == settings.physical_topic(topic)


def _is(span: dict[str, Any], operation: str) -> bool:
    return bool(span["attributes"].get("messaging.operation.name") == operation)
