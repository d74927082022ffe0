"""A running mesh seen from outside: one trace over all of it, its log lines, its metrics."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.cli.sending import github_signature
from headrace.local.endpoints import Endpoints
from headrace.simulator.script import Script
from headrace.simulator.server import Simulator
from tests.observe.collector import Collector, Seen
from tests.runtime.kafka import produce, read_all
from tests.support.mesh import GITHUB_SECRET, Mesh, running_mesh, until

SERVICES = ("gateway", "ingest", "reasoning", "tools", "persistence")
MODEL_KEY, COLLECTOR_TOKEN, IN_URL, IN_PAYLOAD, IN_PROMPT, IN_ANSWER = PLANTED = (
    "sk-ant-planted-model-key-0001",
    "planted-collector-token-0002",
    "planted-in-a-url-0003",
    "planted-in-a-payload-0004",
    "planted-in-a-prompt-0005",
    "planted-in-an-answer-0006",
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENDER = "00f067aa0ba902b7"

AGENT = f"""
name: star-gazer
version: 1.0.0
category: test
description: Looks at stars.
system_prompt: You look at stars. {IN_PROMPT}
model: anthropic:claude-haiku-5-5
tools: [execute_pipeline]
http_domains: ["127.0.0.1"]
triggers: [{{type: com.github.star.created}}]
"""


class Shop(ThreadingHTTPServer):
    """What the agent's tool calls; keeps the requests' headers, and answers while it is ``open``."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.open = threading.Event()
        self.open.set()
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.seen.append({name.lower(): value for name, value in self.headers.items()})
                shop.open.wait(20)
                body = b'[{"price": 99}]'
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def script(shop: Shop) -> Script:
    url = f"http://127.0.0.1:{shop.server_port}/stars?token={IN_URL}"
    call = {
        "name": "execute_pipeline",
        "arguments": {"session_id": "s", "pipeline": [{"step": "http_request", "url": url}]},
    }
    rules = [
        {"match": {"turn": 0}, "reply": {"tool_calls": [call]}},
        {"match": {"turn": 1}, "reply": {"text": f"a star {IN_ANSWER}"}},
    ]
    return Script.model_validate({"rules": rules})


def environment(simulator: Simulator, shop: Shop) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": MODEL_KEY,
        "ANTHROPIC_BASE_URL": simulator.anthropic_base_url,
        "HEADRACE_EGRESS_ALLOW_PRIVATE": f"127.0.0.1:{shop.server_port}",
        "HEADRACE_TOOLS_PIPELINE_CACHE": "off",  # the same call again is one to be seen
    }


def publish_agent(mesh: Mesh, directory: Path) -> None:
    definition = directory / "star-gazer.yaml"
    definition.write_text(AGENT)
    mesh.publish(definition)


def star(mesh: Mesh, delivery: str, **headers: str) -> None:
    body = json.dumps(
        {
            "action": "created",
            "starred_at": "2026-01-01T00:00:00Z",
            "repository": {"full_name": "acme/shop", "html_url": "https://github.com/acme/shop"},
            "sender": {"login": IN_PAYLOAD},
        }
    ).encode()
    headers |= {
        "content-type": "application/json",
        "x-github-event": "star",
        "x-github-delivery": delivery,
        "x-hub-signature-256": github_signature(GITHUB_SECRET, body),
    }
    assert mesh.gateway.post("/webhooks/github", content=body, headers=headers).status_code == 202


def deliver_until_triggered(mesh: Mesh) -> None:
    """The definition reaches ingest's table by itself; deliveries before that start nothing."""
    for number in range(100):
        star(mesh, f"warm-{number}")
        threading.Event().wait(0.3)
        if mesh.runs(agent="star-gazer"):
            return
    raise AssertionError("no delivery started a run")


def lines(mesh: Mesh, *services: str) -> list[dict[str, Any]]:
    return [json.loads(line) for name in services for line in mesh.log(name).splitlines()]


def test_one_trace_from_the_webhook_to_the_stored_result(
    stack: Endpoints, namespace: str, database_url: str, shop: Shop, tmp_path: Path
) -> None:
    """Batches wait for an hour here: what arrives was flushed when the services drained."""
    with Collector() as collector, Simulator(script(shop)) as simulator:
        otel = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{COLLECTOR_TOKEN}",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        }
        given = environment(simulator, shop) | otel
        with running_mesh(stack, namespace, database_url, services=SERVICES, environment=given) as mesh:
            publish_agent(mesh, tmp_path)
            deliver_until_triggered(mesh)
            before = len(mesh.runs(agent="star-gazer"))
            star(mesh, "traced", traceparent=f"00-{TRACE}-{SENDER}-01", tracestate="vendor=1")
            star(mesh, "garbled", traceparent="00-" + "0" * 32 + "-nonsense-01")
            mesh.finished(before + 2)
            results = {
                record.headers["traceparent"].split("-")[1]: record
                for record in read_all(mesh.settings, "agent.results")
            }
            produce(mesh.settings, "agent.jobs", [("bad", b"\x00garbage")])
            until(lambda: read_all(mesh.settings, "reasoning.dlq"), 30, "the dead letter")
            mesh.stop(*SERVICES)
            logged = lines(mesh, *SERVICES)
            everything = "".join(mesh.log(name) for name in SERVICES)
        model_headers = [request.headers for request in simulator.requests]

    assert_the_tree([span for span in collector.spans if span.trace_id == TRACE], namespace)
    assert results[TRACE].headers["tracestate"] == "vendor=1"
    assert len(results) == before + 2  # each delivery a trace of its own

    traces = {span.trace_id for span in collector.spans if span.name == "POST /webhooks/{source}"}
    assert set(results) <= traces
    assert "0" * 32 not in traces

    bad = [span for span in collector.spans if span.failed and span.name == f"process {namespace}agent.jobs"]
    assert {span.attributes["error.type"] for span in bad} == {"json"}
    commits = [span for span in collector.spans if span.name.startswith(f"commit {namespace}headrace.")]
    assert {span.span_id for span in collector.spans if span.kind == "consumer"} == {
        link for span in commits for link in span.links
    }

    assert {headers["authorization"] for headers in collector.headers} == {f"Bearer {COLLECTOR_TOKEN}"}
    exported = b"".join(collector.bodies).decode("latin-1")
    assert not [secret for secret in (*PLANTED, GITHUB_SECRET) if secret in exported]
    assert not [secret for secret in (MODEL_KEY, COLLECTOR_TOKEN, IN_URL, GITHUB_SECRET) if secret in everything]
    for stranger in (*shop.seen, *model_headers):
        assert "traceparent" not in stranger

    assert_the_lines(logged, collector.spans)


def assert_the_tree(trace: list[Seen], prefix: str) -> None:
    """Every step of the run, each below the one that caused it."""
    by_id = {span.span_id: span for span in trace}

    def path(span: Seen) -> tuple[str, ...]:
        parent = by_id.get(span.parent)
        return (*path(parent), span.name) if parent else (span.name,)

    def hop(topic: str) -> tuple[str, str]:
        return f"create {prefix}{topic}", f"process {prefix}{topic}"

    webhook = ("POST /webhooks/{source}", "send gateway")
    ingest = (*webhook, *hop("ingest.raw"))
    job = (*ingest, *hop("agent.jobs"))
    calls = (*job, *hop("tool.calls"))
    outcomes = (*calls, *hop("tool.results"))
    result = (*outcomes, *hop("agent.results"))
    model, tool = "chat claude-haiku-5-5", "execute_tool execute_pipeline"
    paths = sorted((path(span), span.service.removeprefix("headrace-")) for span in trace if span.kind != "producer")
    assert paths == sorted(
        [
            (webhook[:1], "gateway"),
            (webhook, "gateway"),
            (ingest, "ingest"),
            ((*ingest, *hop("ingest.events")), "persistence"),
            (job, "reasoning"),
            (job, "persistence"),
            ((*job, model), "reasoning"),
            (calls, "tools"),
            (calls, "persistence"),
            ((*calls, tool), "tools"),
            ((*calls, tool, "GET"), "tools"),
            (outcomes, "reasoning"),
            (outcomes, "persistence"),
            ((*outcomes, model), "reasoning"),
            (result, "persistence"),
        ]
    )
    assert not [span for span in trace if span.failed]
    (root,) = (span for span in trace if span.parent not in by_id)
    assert (root.parent, root.kind) == (SENDER, "server")
    assert root.attributes["http.response.status_code"] == 202

    (job_span,) = (span for span in trace if path(span) == job and span.service == "headrace-reasoning")
    assert job_span.kind == "consumer"
    attributes = job_span.attributes
    assert attributes["messaging.system"] == "kafka"
    assert attributes["messaging.operation.name"] == attributes["messaging.operation.type"] == "process"
    assert attributes["messaging.destination.name"] == f"{prefix}agent.jobs"
    assert attributes["messaging.destination.partition.id"].isdigit()
    assert attributes["messaging.kafka.offset"] >= 0
    assert attributes["messaging.consumer.group.name"] == f"{prefix}headrace.reasoning"
    assert attributes["gen_ai.agent.name"] == "star-gazer"
    assert attributes["headrace.run_id"]

    first = next(span for span in trace if path(span) == (*job, model))
    assert first.kind == "client"
    facts = {name: first.attributes[name] for name in first.attributes if name.startswith("gen_ai.")}
    assert facts.pop("gen_ai.usage.input_tokens") > 0
    assert facts.pop("gen_ai.usage.output_tokens") > 0
    assert facts.pop("gen_ai.response.model").startswith("claude-haiku-5-5")
    assert facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-haiku-5-5",
        "gen_ai.request.max_tokens": 2000,
        "gen_ai.output.type": "text",
        "gen_ai.response.finish_reasons": ["tool_use"],
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": facts["gen_ai.usage.cache_creation.input_tokens"],
    }
    assert first.attributes["headrace.cost_usd"] > 0

    (executed,) = (span for span in trace if span.name == tool)
    assert executed.attributes["gen_ai.operation.name"] == "execute_tool"
    assert executed.attributes["gen_ai.tool.name"] == "execute_pipeline"
    assert executed.attributes["gen_ai.tool.call.id"]
    (request,) = (span for span in trace if span.name == "GET")
    assert request.kind == "client"
    assert request.attributes["server.address"] == "127.0.0.1"
    assert request.attributes["http.response.status_code"] == 200


def assert_the_lines(logged: list[dict[str, Any]], spans: list[Seen]) -> None:
    """The agreed keys on every line, and on those of a run who and where; each inside of a span of that trace."""
    assert all({"timestamp", "level", "event"} <= line.keys() for line in logged)
    assert not {line["event"] for line in logged} & {"spans_lost", "spans_not_flushed", "tracing_off"}
    framing = [line for line in logged if line["event"] in ("agent_start", "agent_complete")]
    assert len(framing) >= 4
    known = {(span.trace_id, span.span_id): span for span in spans}
    for line in framing:
        assert {"agent_type", "user_id", "run_id"} <= line.keys()
        span = known[line["trace_id"], line["span_id"]]
        assert span.kind == "consumer"
        assert span.attributes["headrace.run_id"] == line["run_id"]


def scrape(mesh: Mesh, service: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = httpx2.get(f"http://127.0.0.1:{mesh.ops[service]}/metrics", trust_env=False).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def value(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, /, **labels: str) -> float:
    """Sum over the samples with these labels; a name that is not there fails."""
    found = [v for (n, have), v in samples.items() if n == name and frozenset(labels.items()) <= have]
    assert found, f"{name} {labels} is not in the scrape"
    return sum(found)


def test_metrics_of_a_running_mesh_move_and_a_trace_context_passes_through_untraced(
    stack: Endpoints, namespace: str, database_url: str, shop: Shop, tmp_path: Path
) -> None:
    with Simulator(script(shop)) as simulator:
        given = environment(simulator, shop)
        with running_mesh(stack, namespace, database_url, services=SERVICES, environment=given) as mesh:
            publish_agent(mesh, tmp_path)
            deliver_until_triggered(mesh)
            mesh.finished(len(mesh.runs(agent="star-gazer")))
            before = {service: scrape(mesh, service) for service in SERVICES}
            finished = len(mesh.finished(1))
            star(mesh, "traced", traceparent=f"00-{TRACE}-{SENDER}-01", tracestate="vendor=1")
            produce(mesh.settings, "agent.jobs", [("bad", b"\x00garbage")])
            mesh.finished(finished + 1)
            until(lambda: read_all(mesh.settings, "reasoning.dlq"), 30, "the dead letter")
            after = {service: scrape(mesh, service) for service in SERVICES}
            for topic in ("ingest.raw", "agent.jobs", "tool.calls", "tool.results", "agent.results"):
                contexts = [r.headers.get("traceparent") for r in read_all(mesh.settings, topic)]
                assert contexts.count(f"00-{TRACE}-{SENDER}-01") == 1, topic
            assert_lag_is_seen(mesh, shop)
            assert "trace_id" not in "".join(mesh.log(name) for name in SERVICES)

    def moved(service: str, name: str, /, **labels: str) -> float:
        return value(after[service], name, **labels) - value(before[service], name, **labels)

    model = {"model": "anthropic:claude-haiku-5-5"}
    assert moved("reasoning", "agent_requests_total", agent_name="star-gazer", status="completed") == 1
    assert moved("reasoning", "agent_processing_seconds_count", agent_name="star-gazer") == 1
    assert moved("reasoning", "agent_processing_seconds_sum", agent_name="star-gazer") > 0
    assert moved("reasoning", "headrace_model_calls_total", outcome="ok", **model) == 2
    assert moved("reasoning", "headrace_tokens_total", direction="input", **model) > 0
    assert moved("reasoning", "headrace_tokens_total", direction="output", **model) > 0
    assert moved("reasoning", "headrace_cost_usd_total", agent_name="star-gazer", **model) > 0
    assert value(after["reasoning"], "headrace_dead_letters_total", service="reasoning", cause="json") == 1
    assert moved("tools", "headrace_tool_calls_total", tool="execute_pipeline", outcome="ok") == 1
    for service in ("ingest", "reasoning", "tools", "persistence"):
        assert moved(service, "headrace_commits_total", service=service, outcome="committed") >= 1
        assert moved(service, "headrace_commit_seconds_count", service=service) >= 1
        assert moved(service, "headrace_records_total", service=service, outcome="done") >= 1
        assert value(after[service], "headrace_in_flight", service=service) >= 0
        assert value(after[service], "headrace_consumer_lag", service=service) >= 0
    assert moved("gateway", "headrace_gateway_requests_total", route="/webhooks/{source}", status="202") == 1


def assert_lag_is_seen(mesh: Mesh, shop: Shop) -> None:
    """While the tool waits for its server, its record is in flight and counts as lag; then neither."""

    def tools(name: str, **labels: str) -> float:
        return value(scrape(mesh, "tools"), name, service="tools", **labels)

    shop.open.clear()
    try:
        star(mesh, "held")
        until(lambda: tools("headrace_in_flight") == 1, 30, "the call is in flight")
        until(lambda: tools("headrace_consumer_lag", topic="tool.calls") >= 1, 15, "its record is lag")
    finally:
        shop.open.set()
    until(lambda: tools("headrace_in_flight") == 0, 30, "the call is done")
    until(lambda: tools("headrace_consumer_lag", topic="tool.calls") == 0, 30, "its record is committed")
