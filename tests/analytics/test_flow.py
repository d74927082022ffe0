"""Analytics as processes of their own on real Kafka, registry and Postgres: what they count is the truth, whatever happens."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.local.endpoints import Endpoints
from headrace.messages.audit import AuditEvent
from headrace.messages.codec import Encoded
from headrace.runtime.admin import Admin
from headrace.runtime.cluster import END, Cluster
from headrace.topology import load_all
from tests.analytics import log
from tests.analytics.seen import announcements, metric, rows, windows_on_topic, windows_stored
from tests.contract.kafka import read, write
from tests.support.children import start_services
from tests.support.mesh import Mesh, until
from tests.support.ports import free_port

FAST = {"HEADRACE_ANALYTICS_FLUSH_SECONDS": "0.2", "HEADRACE_ANALYTICS_GRACE_SECONDS": "120"}


@contextmanager
def counting(stack: Endpoints, namespace: str, database_url: str, **settings: str) -> Iterator[Mesh]:
    """A process of analytics on topics of its own. The tables it makes itself."""
    given = (
        FAST
        | settings
        | {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
            "DATABASE_URL": database_url,
            "HEADRACE_TOPIC_PREFIX": namespace,
        }
    )
    with tempfile.TemporaryDirectory(prefix="headrace-analytics-") as logs:
        mesh = Mesh(given, Path(logs))
        specs = load_all()
        names = ("audit.events", "usage.windows", "analytics.dlq")
        Admin(mesh.settings).apply([specs[name] for name in names], replication=1)
        try:
            mesh.start("analytics")
            yield mesh
        finally:
            mesh.close()


@pytest.fixture
def mesh(stack: Endpoints, namespace: str, database_url: str) -> Iterator[Mesh]:
    with counting(stack, namespace, database_url) as mesh:
        yield mesh


def wait_for(mesh: Mesh, entries: Sequence[AuditEvent], seconds: float = 40) -> None:
    """Until what is stored is the truth; and so is what was announced."""
    expected = log.truth(entries)
    goal = sum(totals.sums.runs for totals in expected.values())
    until(lambda: stored(mesh) >= goal, seconds, f"{goal} runs are stored:\n{mesh.log('analytics')[-6000:]}")
    assert windows_stored(mesh) == expected
    until(lambda: all(row["published"] == row["revision"] for row in rows(mesh)), 20, "all is announced")
    latest = windows_on_topic(mesh)
    assert {(one.tenant, one.agent_name, one.window_start_ms): one.runs for one in latest.values()} == {
        key: totals.sums.runs for key, totals in expected.items()
    }
    for one in latest.values():
        totals = expected[one.tenant, one.agent_name, one.window_start_ms]
        assert (one.failed, one.error_rate, one.cost_usd) == (
            totals.sums.failed,
            totals.error_rate,
            totals.sums.cost_usd,
        )
        assert (one.input_tokens, one.output_tokens) == (totals.sums.input_tokens, totals.sums.output_tokens)
        assert (one.latency_p95_ms, one.latency_max_ms) == (totals.percentile(0.95), totals.latency_max_ms)


def test_counts_are_the_truth_over_restarts(mesh: Mesh, namespace: str) -> None:
    """Aborted entries and other kinds are not counted, a restart counts nothing twice, revisions grow, names have the prefix."""
    entries = log.some(random.Random(4), 400, start_ms=log.now_ms() - 20 * log.MINUTE_MS)
    log.append(mesh.settings, entries[:200])
    log.append(mesh.settings, entries[100:300], commit=False)
    wait_for(mesh, entries[:200])
    mesh.stop("analytics")
    log.append(mesh.settings, entries[200:])
    mesh.start("analytics")
    wait_for(mesh, entries)

    revisions: dict[str, list[int]] = {}
    for one in announcements(mesh):
        revisions.setdefault(one.window_id, []).append(one.revision)
    assert all(found == sorted(found) for found in revisions.values())
    kafka = AdminClient({"bootstrap.servers": mesh.settings.kafka_bootstrap_servers})
    topics = [name for name in kafka.list_topics(timeout=10).topics if "analytics" in name or "faust" in name]
    assert sorted(name for name in topics if name.startswith(namespace)) == [
        f"{namespace}analytics.dlq",
        f"{namespace}headrace.analytics-usage-changelog",
    ]
    groups = kafka.list_consumer_groups().result(10).valid
    assert [group.group_id for group in groups if group.group_id.startswith(namespace)] == [
        f"{namespace}headrace.analytics"
    ]
    shown = orjson.loads(mesh.cli("usage", "--json").stdout)["usage"]
    mine = {key: totals for key, totals in log.truth(entries).items() if key[0] == "default"}
    assert sum(row["runs"] for row in shown) == sum(totals.sums.runs for totals in mine.values())


def test_killed_again_and_again_it_counts_everything_once(stack: Endpoints, namespace: str, database_url: str) -> None:
    """kill -9 when all is committed and nothing stored, and when part is counted and stored and nothing committed."""
    entries = log.some(random.Random(9), 1_500, start_ms=log.now_ms() - 20 * log.MINUTE_MS)
    step = len(entries) // 3
    settings = {"HEADRACE_ANALYTICS_BATCH_RECORDS": "5", "HEADRACE_ANALYTICS_FLUSH_SECONDS": "3600"}
    with counting(stack, namespace, database_url, **settings) as mesh:
        log.append(mesh.settings, entries[:step])
        until(lambda: committed(mesh), 40, "all is committed")
        assert stored(mesh) == 0
        mesh.kill("analytics")

        mesh.environment |= FAST | {"HEADRACE_ANALYTICS_COMMIT_SECONDS": "3600"}
        mesh.start("analytics")
        wait_for(mesh, entries[:step], 90)  # a kill within a rebalance: the group waits a minute for who was in it
        log.append(mesh.settings, entries[step : 2 * step])
        until(lambda: stored(mesh) > runs(entries[:step]), 30, "more is counted")
        mesh.kill("analytics")
        assert stored(mesh) < runs(entries[: 2 * step]), "not all of it"
        assert not committed(mesh)

        mesh.start("analytics")
        log.append(mesh.settings, entries[2 * step :])
        wait_for(mesh, entries, 90)


def runs(entries: Sequence[AuditEvent]) -> int:
    return sum(one.kind == "run_finished" for one in entries)


def committed(mesh: Mesh) -> bool:
    """Whether the group has committed everything that is in the log."""
    return Admin(mesh.settings).group_lag("headrace.analytics", ["audit.events"])["audit.events"].lag == 0


def stored(mesh: Mesh) -> int:
    return sum(totals.sums.runs for totals in windows_stored(mesh).values())


def test_two_share_the_work_and_one_takes_over(mesh: Mesh) -> None:
    entries = log.some(random.Random(5), 900, start_ms=log.now_ms() - 20 * log.MINUTE_MS)
    log.append(mesh.settings, entries[:300])
    with another(mesh) as port:
        log.append(mesh.settings, entries[300:600])
        until(lambda: partitions(port) == 3, 60, "the second has its half")
        wait_for(mesh, entries[:600])
        mesh.kill("analytics")
        log.append(mesh.settings, entries[600:])
        wait_for(mesh, entries, 90)
        assert partitions(port) == 6


def test_what_was_deleted_unread_is_not_passed_over(mesh: Mesh) -> None:
    """Faust alone would go on with what is left, and the counts would be wrong for ever."""
    entries = log.some(random.Random(6), 60, start_ms=log.now_ms() - 20 * log.MINUTE_MS)
    log.append(mesh.settings, entries[:30])
    wait_for(mesh, entries[:30])
    mesh.stop("analytics")
    log.append(mesh.settings, entries[30:])
    topic = mesh.settings.physical_topic("audit.events")
    kafka = AdminClient({"bootstrap.servers": mesh.settings.kafka_bootstrap_servers})
    ends = {p: Cluster(mesh.settings).offsets([(topic, p)], END)[topic, p] for p in range(6)}
    gone = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    for future in kafka.delete_records(gone).values():
        future.result(20)
    mesh.start("analytics", wait=False)
    assert mesh.processes["analytics"].wait(60) == 1
    assert "was deleted unread" in mesh.log("analytics")


def test_late_garbage_and_other_kinds(mesh: Mesh) -> None:
    start = (log.now_ms() // log.MINUTE_MS - 60) * log.MINUTE_MS
    first = log.finished(1, at_ms=start + 10_000)
    out_of_order = log.finished(3, at_ms=start + 50_000)
    entries = [first, log.finished(2, at_ms=start + 100_000), out_of_order, log.finished(4, at_ms=start + 600_000)]
    log.append(mesh.settings, entries)
    wait_for(mesh, entries)
    until(lambda: [row["final"] for row in rows(mesh)] == [True, True, False], 20, "what is past the grace is final")
    until(lambda: metric(mesh, "headrace_usage_open_windows") == 1.0, 20, "what is final is forgotten")

    log.append(mesh.settings, [log.finished(5, at_ms=start + 20_000), log.other(6, at_ms=start)])
    good = log.finished(7, at_ms=start + 600_000, agent_name=None, status="failed")
    bad = [b"not avro", b"\x00\x00\x00\x00\x01short", b"\x00\x7f\xff\xff\xff1", b""]
    key = first.chain.encode()
    write(mesh.settings, [Encoded("audit.events", key, value, [("x", b"\xff")]) for value in bad])
    log.append(mesh.settings, [log.finished(6, at_ms=log.now_ms() + 86_400_000)])
    log.append(mesh.settings, [good])
    wait_for(mesh, [*entries, good])
    assert metric(mesh, "headrace_usage_runs_total", outcome="late") == 1.0
    dead = read(mesh.settings, "analytics.dlq")
    assert [letter.value for letter in dead][:4] == bad
    assert [letter.headers["dlq_cause"].decode() for letter in dead] == [
        "avro",
        "avro",
        "unknown_schema",
        "avro",
        "timestamp",
    ]
    assert dead[0].headers["x"] == b"\xff"
    assert metric(mesh, "headrace_dead_letters_total", service="analytics", cause="avro") == 3.0


@contextmanager
def another(mesh: Mesh) -> Iterator[int]:
    """A second process of analytics; its operations port."""
    port = free_port()
    environment = mesh.environment | {"HEADRACE_OPS_PORT": str(port), "HEADRACE_INSTANCE": "1"}
    process = start_services("analytics", environment=environment, log=mesh.logs / "second.log")
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def partitions(port: int) -> int:
    try:
        answer: dict[str, Any] = httpx2.get(f"http://127.0.0.1:{port}/status", trust_env=False).json()
    except httpx2.TransportError:
        return 0
    return int(answer["services"].get("analytics", {}).get("partitions", 0))
