"""Audit on real Kafka: every record is an entry, exactly once and in order; and what is done to the log is found."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.audit.verify import verify
from headrace.local.endpoints import Endpoints
from headrace.messages.audit import AuditEvent
from headrace.messages.errors import FatalError
from headrace.runtime import config
from headrace.settings import MeshSettings
from tests.audit.mesh import (
    SECRET,
    STAGE,
    audited,
    auditing,
    by_chain,
    copy_log,
    datum,
    entries,
    jobs,
    make_audit_topics,
    one_of_each,
    sources,
    worker,
    write,
    write_raw,
)
from tests.runtime.kafka import Seen, committed, make_topics, read_all
from tests.runtime.relay import settings_for

PARTITIONS = 2


@pytest.fixture
def settings(stack: Endpoints, namespace: str) -> MeshSettings:
    settings = settings_for(stack, namespace)
    make_audit_topics(settings, partitions=PARTITIONS)
    return settings


def dead_letter(topic: str) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    facts = {"group": "headrace.tools", "topic": "tool.calls", "partition": "1", "offset": "7", "cause": "schema"}
    headers = [(f"dlq_{name}", text.encode()) for name, text in facts.items()]
    return (
        b"k",
        SECRET.encode(),
        [("ce_runid", b"run-1"), ("ce_tenant", b"acme"), *headers, ("dlq_error", SECRET.encode())],
    )


async def test_every_topic_s_records_are_entries_and_hold_names_only(settings: MeshSettings) -> None:
    await write(settings, one_of_each())
    write_raw(
        settings,
        "ingest.raw",
        [(b"d-1", SECRET.encode(), [("ce_id", b"d-1"), ("ce_type", b"t"), ("ce_source", b"/s")])],
    )
    write_raw(settings, "agent.definitions", [(b"triager@1.2.3", None, None)])
    for topic in STAGE.consumes:
        if topic.endswith(".dlq"):
            write_raw(settings, topic, [dead_letter(topic)])
    expected = await sources(settings)
    assert {chain.rpartition("/")[0] for chain in expected} == set(STAGE.consumes)
    async with auditing(settings):
        found = await audited(settings, sum(map(len, expected.values())))
    assert by_chain(found) == expected
    by_topic = {entry.source_topic: entry for entry in found if entry.status != "deleted"}
    kinds = {topic: entry.kind for topic, entry in by_topic.items()}
    assert kinds == {
        "ingest.raw": "event_received",
        "ingest.events": "event_normalised",
        "agent.jobs": "job_requested",
        "tool.calls": "tool_called",
        "tool.results": "tool_finished",
        "run.waits": "run_parked",
        "wait.completions": "wait_completed",
        "agent.results": "run_finished",
        "agent.definitions": "agent_published",
        "budget.changes": "budget_changed",
        "workflow.signals": "workflow_signalled",
        "replay.actions": "replay_acted",
        **{topic: "dead_lettered" for topic in STAGE.consumes if topic.endswith(".dlq")},
    }
    facts = [datum(record.value) for record in read_all(settings, AuditEvent.TOPIC)]
    assert SECRET not in str(facts)
    result, called, failed = by_topic["agent.results"], by_topic["tool.calls"], by_topic["tool.results"]
    assert (result.run_id, result.status, result.error_type) == ("run-1", "failed", "limit_tokens")
    assert (result.input_tokens, result.output_tokens, result.cost_usd, result.duration_ms) == (100, 20, 0.25, 2_500)
    assert (called.user_id, called.definition_hash, called.tools) == ("jane", "d" * 16, ("execute_pipeline",))
    assert (called.causation_id, called.correlation_id) == ("cause-1", "cause-1")
    assert (failed.status, failed.error_type, failed.duration_ms) == ("error", "http_status", 7)
    parked, decided = by_topic["run.waits"], by_topic["wait.completions"]
    assert (parked.run_id, parked.status, parked.tools) == ("run-1", "approval", ("execute_pipeline",))
    assert (decided.run_id, decided.status, decided.user_id) == ("run-1", "approve", "key-7")
    change = by_topic["budget.changes"]
    assert (change.user_id, change.agent_name, change.status) == ("key-1", "triager", "set")
    assert change.record_id == "default:all:2026-01-01T00:00:00Z"
    begun = by_topic["workflow.signals"]
    assert (begun.workflow_run_id, begun.status, begun.user_id) == ("workflow-run-1", "start", "jane")
    replay = by_topic["replay.actions"]
    assert (replay.user_id, replay.status, replay.service) == ("cli:jane@desk", "rebuild_failed", "persistence")
    assert (replay.origin, replay.error_type, replay.record_id) == ("to earliest", "GroupActive", "a-1:failed")
    letter = by_topic["tools.dlq"]
    assert (letter.service, letter.error_type, letter.origin, letter.run_id) == (
        "tools",
        "schema",
        "tool.calls/1/7",
        "run-1",
    )
    deleted = next(entry for entry in found if entry.status == "deleted")
    assert (deleted.agent_name, deleted.agent_version) == ("triager", "1.2.3")
    report = await verify(settings, deep=True)
    assert not report.broken
    assert (report.entries, report.records) == (len(found), len(found))


async def test_what_nobody_can_read_is_an_entry_all_the_same(settings: MeshSettings) -> None:
    """Garbage on every topic, hostile headers and numbers, a record without anything: none is lost, none stops the chain."""
    huge = b'{"version":"1.1","job_id":"j","prompt":"p","context":{"session_id":"' + b"s" * 200 + b'"}}'
    garbage: list[tuple[Any, Any, Any]] = [
        (b"k", b"\xff\xfe not json", None),
        (None, None, None),
        (b"\xff", b"", [("ce_id", b"\xff\xfe"), ("ce_tenant", b"x" * 100_000), ("ce_correlationid", b"y" * 800_000)]),
        (b"k", b"[" * 5_000, [("traceparent", b"00-zz"), ("ce_dataref", b"cas://sha256:nothing"), ("h", None)]),
        (b"k", huge, [("ce_runid", "\u202eevil\n".encode())]),
    ]
    for topic in STAGE.consumes:
        write_raw(settings, topic, garbage)
    async with auditing(settings) as running:
        found = await audited(settings, len(garbage) * len(STAGE.consumes))
        assert running.status()["dead_lettered"] == 0
    assert by_chain(found) == await sources(settings)
    assert {entry.kind for entry in found if entry.source_topic == "tool.calls"} == {"undecodable"}
    assert {e.kind for e in found if e.source_topic == "agent.jobs"} == {"undecodable", "job_requested"}
    assert {e.error_type for e in found if e.source_topic == "agent.results"} >= {"avro", "empty"}
    longest = max(len(text) for e in found for text in e.plain().values() if isinstance(text, str))
    assert longest <= 256
    assert not (await verify(settings, deep=True)).broken
    assert read_all(settings, STAGE.dead_letters) == []


async def test_gaps_in_source_offsets_are_no_breaks(settings: MeshSettings) -> None:
    """Transactions leave markers, aborted ones records too: neither has an entry, and the entry after them says so."""
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": settings.topic_prefix + "p"}
    )
    producer.init_transactions(10)
    for number in range(6):
        producer.begin_transaction()
        for key, value, _ in jobs(2, number * 2):
            producer.produce(settings.physical_topic("agent.jobs"), value, key, partition=0)
        producer.flush(10)
        producer.abort_transaction(10) if number % 3 == 1 else producer.commit_transaction(10)
    async with auditing(settings):
        found = await audited(settings, 8)
    assert by_chain(found) == {"agent.jobs/0": [0, 1, 6, 7, 9, 10, 15, 16]}
    assert [entry.previous_offset for entry in found] == [None, 0, 1, 6, 7, 9, 10, 15]
    assert not (await verify(settings, deep=True)).broken


async def test_a_backlog_is_committed_in_groups(settings: MeshSettings) -> None:
    count = 8_000
    for partition in range(PARTITIONS):
        write_raw(settings, "agent.jobs", jobs(count // PARTITIONS, partition * count), partition=partition)
    began = time.perf_counter()
    async with auditing(settings) as running:
        while running.status()["finished"] < count or not running._engine.idle:
            await asyncio.sleep(0.02)
        rate = count / (time.perf_counter() - began)
    found = await entries(settings)
    assert by_chain(found) == await sources(settings)
    ends = [end.offset for end in committed(settings, STAGE.group, "agent.jobs", range(PARTITIONS))]
    assert ends == [count // PARTITIONS] * PARTITIONS
    report = await verify(settings, deep=True)
    assert not report.broken
    print(f"\naudited {rate:,.0f} records/s; verified {report.entries / report.seconds:,.0f} entries/s (deep)")
    transactions = sum(1 for partition in range(PARTITIONS) for _ in markers(settings, partition))
    assert transactions < count / 20


def markers(settings: MeshSettings, partition: int) -> list[int]:
    """Offsets in a partition of the log that are of no record: those of transaction markers."""
    offsets = [record.offset for record in read_all(settings, AuditEvent.TOPIC) if record.partition == partition]
    return sorted(set(range(offsets[-1] + 1)) - set(offsets)) if offsets else []


# --- reading again -----------------------------------------------------------------------------------------------------------


def reset(settings: MeshSettings) -> None:
    """The group's offsets back to the beginning, as an operator does it: the state in the commits is gone too."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    back = [TopicPartition(settings.physical_topic(topic), p, 0) for topic in STAGE.consumes for p in range(PARTITIONS)]
    group = ConsumerGroupTopicPartitions(config.group_id(settings, STAGE.group), back)
    deadline = time.monotonic() + 20
    while True:
        try:
            for future in admin.alter_consumer_group_offsets([group]).values():
                future.result(10)
            return
        except Exception:  # the group is not empty yet
            assert time.monotonic() < deadline
            time.sleep(0.2)


async def test_reading_everything_again_adds_nothing_and_goes_on_with_the_chain(settings: MeshSettings) -> None:
    write_raw(settings, "agent.jobs", jobs(300))
    write_raw(settings, "tool.calls", jobs(5), partition=1)
    async with auditing(settings):
        before = await audited(settings, 305)
    reset(settings)
    async with auditing(settings) as running:
        while running.status()["finished"] < 305:
            await asyncio.sleep(0.02)
        assert await entries(settings) == before
        write_raw(settings, "agent.jobs", jobs(10, 300))
        found = await audited(settings, 315)
    assert by_chain(found) == await sources(settings)
    assert not (await verify(settings, deep=True)).broken


async def test_damaged_commit_metadata_stops_the_service(settings: MeshSettings) -> None:
    write_raw(settings, "agent.jobs", jobs(3))
    async with auditing(settings):
        await audited(settings, 3)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    where = TopicPartition(settings.physical_topic("agent.jobs"), 0, 3, "hs1:00000000:2:2:" + "0" * 64)
    group = ConsumerGroupTopicPartitions(config.group_id(settings, STAGE.group), [where])
    for future in admin.alter_consumer_group_offsets([group]).values():
        future.result(10)
    running = worker(settings)
    await running.start()
    with pytest.raises(FatalError, match="not an intact state"):
        async with asyncio.timeout(20):
            await running.wait()
    await running.stop()


# --- tampering -----------------------------------------------------------------------------------------------------------------


async def test_verify_names_what_was_done_to_the_log(settings: MeshSettings, stack: Endpoints) -> None:
    write_raw(settings, "agent.jobs", jobs(40))
    write_raw(settings, "tool.calls", jobs(5), partition=1)
    async with auditing(settings):
        await audited(settings, 45)

    def only_jobs(change: Any) -> Any:
        def changed(records: list[Seen]) -> list[Seen]:
            mine = [record for record in records if record.key == "agent.jobs/0"]
            return [*change(mine), *(record for record in records if record.key != "agent.jobs/0")]

        return changed

    def flip(records: list[Seen]) -> list[Seen]:
        value = bytearray(records[12].value)
        value[len(value) // 2] ^= 0x10
        return [*records[:12], replace(records[12], value=bytes(value)), *records[13:]]

    changes: dict[str, tuple[Any, Any]] = {
        "same": (lambda records: records, None),
        "flip": (flip, ("edited", 12)),
        "drop": (lambda records: records[:20] + records[21:], ("missing", 20)),
        "swap": (lambda r: [*r[:30], r[31], r[30], *r[32:]], ("reordered", 30)),
        "twice": (lambda r: [*r[:8], r[3], *r[8:]], ("repeated", 3)),
    }
    for name, (change, expected) in changes.items():
        target = settings_for(stack, settings.topic_prefix + name)
        copy_log(settings, target, only_jobs(change), partitions=PARTITIONS)
        report = await verify(target)
        found = {chain.name: chain.broken for chain in report.chains}
        assert found["tool.calls/1"] is None
        broken = found["agent.jobs/0"]
        assert (broken and (broken.what, broken.source_offset)) == expected, name


async def test_a_record_that_changed_after_it_was_audited_is_found(settings: MeshSettings, stack: Endpoints) -> None:
    """Another topic in place of the one that was audited, with one record different: only the deep check can tell."""
    write_raw(settings, "agent.jobs", jobs(10))
    async with auditing(settings):
        await audited(settings, 10)
    target = settings_for(stack, settings.topic_prefix + "d")
    copy_log(settings, target, lambda records: records, partitions=PARTITIONS)
    make_topics(target, ["agent.jobs"], partitions=PARTITIONS)
    changed = jobs(10)
    changed[6] = (changed[6][0], changed[6][1] + b" ", None)
    write_raw(target, "agent.jobs", changed)
    assert not (await verify(target)).broken
    (chain,) = (await verify(target, deep=True)).broken
    assert chain.broken is not None
    assert (chain.broken.what, chain.broken.source_offset) == ("source_edited", 6)
