"""Turning tracing on and off, what a span may hold, and collectors that are away."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from headrace.messages.headers import trace_context
from headrace.messages.run import Entry
from headrace.models import ModelError, ModelRequest
from headrace.models.resolve import Models
from headrace.models.settings import ModelSettings
from headrace.observe import export, tracing
from headrace.simulator.server import Simulator
from tests.observe.collector import Collector
from tests.support.ports import free_port
from tests.support.simulator import model_settings, simulator

__all__ = ["model_settings", "simulator"]

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Tracing is on; spans that have ended."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing.use(provider.get_tracer("test"))
    yield memory
    tracing.use(None)


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "jaeger", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
    ],
)
def test_the_standard_variables_turn_it_on(environ: dict[str, str], on: bool) -> None:
    with capture_logs() as lines:
        assert export.wanted(environ) is on
    refused = environ.get("OTEL_TRACES_EXPORTER") == "jaeger" or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc"
    assert [line["event"] for line in lines] == ["tracing_off"] * refused


def test_without_an_endpoint_the_sdk_is_not_even_imported() -> None:
    code = (
        "import sys, headrace.gateway.__main__, headrace.reasoning.__main__, headrace.tools.__main__\n"
        "from headrace.observe import tracing\n"
        "from headrace.observe.export import exported\n"
        "with exported('x', '0'):\n"
        "    assert not tracing.enabled()\n"
        "    assert tracing.span('a') is tracing.span('b')\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk.trace')]\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("parent", "state", "kept"),
    [
        (PARENT, None, {"traceparent": PARENT}),
        (PARENT, "vendor=1,other=x", {"traceparent": PARENT, "tracestate": "vendor=1,other=x"}),
        (PARENT, "x" * 513, {"traceparent": PARENT}),
        (PARENT, "a=\u00e9", {"traceparent": PARENT}),
        (PARENT + "\n", None, {}),
        (PARENT.upper(), None, {}),
        (PARENT.replace("a", "0"), None, {}),
        (PARENT.replace("b", "0"), None, {}),
        ("01" + PARENT[2:], None, {}),
        (None, "vendor=1", {}),
    ],
)
def test_a_stranger_s_trace_context_is_taken_only_if_it_is_well_formed(
    parent: str | None, state: str | None, kept: dict[str, str]
) -> None:
    given = {"traceparent": parent, "tracestate": state}
    assert trace_context({name: value for name, value in given.items() if value is not None}) == kept


def test_a_span_says_what_failed_and_quotes_nothing(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError), tracing.span("work", attributes={"there": 1, "absent": None}):  # noqa: PT011
        raise ValueError("planted")
    (ended,) = spans.get_finished_spans()
    assert dict(ended.attributes or {}) == {"there": 1, "error.type": "ValueError"}
    assert not ended.status.is_ok
    assert "planted" not in ended.to_json()


async def test_a_cancelled_span_ends_and_has_not_failed(spans: InMemorySpanExporter) -> None:
    async def work() -> None:
        with tracing.span("work"):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (ended,) = spans.get_finished_spans()
    assert ended.status.is_unset
    assert [event.name for event in ended.events] == ["cancelled"]


async def test_a_failed_model_call_shows_its_kind_and_attempts(spans: InMemorySpanExporter) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    settings = ModelSettings(_env_file=None, openai_api_key="sk-planted-000000", openai_base_url=url, model_attempts=2)
    models = Models(settings)
    with pytest.raises(ModelError):
        await models.complete("openai:gpt-4o", ModelRequest(model="", system="planted", entries=(), timeout_s=20))
    await models.close()
    (ended,) = spans.get_finished_spans()
    attributes = dict(ended.attributes or {})
    assert ended.name == "chat gpt-4o"
    assert attributes["error.type"] == "connection"
    assert attributes["gen_ai.provider.name"] == "openai"
    assert [(event.name, (event.attributes or {})["error.type"]) for event in ended.events] == [("retry", "connection")]
    assert "planted" not in ended.to_json()


@pytest.mark.parametrize("model", ["anthropic:claude-haiku-5-5", "openai:gpt-4o"])
async def test_a_provider_learns_nothing_of_our_traces(
    spans: InMemorySpanExporter, simulator: Simulator, model_settings: ModelSettings, model: str
) -> None:
    models = Models(model_settings)
    with tracing.span("run"):
        await models.complete(model, ModelRequest(model="", system="s", entries=(Entry(role="user", content="hi"),)))
    await models.close()
    assert [span.name for span in spans.get_finished_spans()] == [f"chat {model.partition(':')[2]}", "run"]
    assert not {"traceparent", "tracestate", "baggage"} & simulator.requests[0].headers.keys()


def _in_process(environ: dict[str, str], spans: int, directory: Path) -> tuple[list[dict[str, Any]], int]:
    """A process that makes ``spans`` spans under ``environ``: its log lines and how many spans it lost."""
    code = (
        "import sys\n"
        "from headrace.observe import export, metrics, tracing\n"
        "from headrace.observe.logging import configure\n"
        "configure()\n"
        "with export.exported('x', '0'):\n"
        f"    for _ in range({spans}):\n"
        "        with tracing.span('work'): pass\n"
        "print(int(metrics.SPANS.labels('lost').value))\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | environ, capture_output=True, text=True, timeout=60, cwd=directory
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()], int(done.stdout)


def test_a_collector_that_is_away_costs_one_line_and_no_failure(tmp_path: Path) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Planted value, which is not url-encoded",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100",
    }
    lines, lost = _in_process(environ, 300, tmp_path)
    assert [line["event"] for line in lines if line["event"] != "spans_not_flushed"] == ["tracing_on", "spans_lost"]
    assert lost > 0
    assert "Planted" not in json.dumps(lines)


def test_what_the_sdk_refuses_costs_the_traces_and_not_the_service(tmp_path: Path) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100000"}
    lines, lost = _in_process(environ, 3, tmp_path)
    assert [line["event"] for line in lines] == ["tracing_off"]
    assert lost == 0


def test_what_waits_is_flushed_at_the_end_and_dotenv_counts_too(tmp_path: Path) -> None:
    with Collector() as collector:
        dotenv = f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}\nOTEL_RESOURCE_ATTRIBUTES=service.name=renamed\n"
        (tmp_path / ".env").write_text(dotenv)
        lines, lost = _in_process({"OTEL_BSP_SCHEDULE_DELAY": "3600000"}, 7, tmp_path)
    assert [line["event"] for line in lines] == ["tracing_on"]
    assert lost == 0
    assert [(span.service, span.name) for span in collector.spans] == [("renamed", "work")] * 7


def test_the_sampler_is_the_operator_s(tmp_path: Path) -> None:
    with Collector() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "always_off"}
        _, lost = _in_process(environ, 5, tmp_path)
    assert collector.spans == []
    assert lost == 0


def test_lost_spans_are_said_once_a_minute() -> None:
    class Broken(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            raise OSError("planted")

    clock = [1000.0]
    watched = export._Watched(Broken(), lambda: clock[0])
    with capture_logs() as lines:
        for moment in (1000.0, 1001.0, 1059.0, 1061.0):
            clock[0] = moment
            assert watched.export([None, None]) is SpanExportResult.FAILURE  # type: ignore[list-item]
    assert [line["spans"] for line in lines] == [2, 6]
    assert "planted" not in str(lines)
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)
