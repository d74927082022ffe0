"""Audit reads everything again and chains nothing twice."""

from __future__ import annotations

import asyncio

from confluent_kafka import Producer

from headrace.pipeline import STAGES
from headrace.settings import MeshSettings
from tests.replay.mesh import filled, rebuild, runs, write
from tests.runtime.kafka import Seen, produce, read_all

AUDIT = STAGES["audit"]


async def logged(settings: MeshSettings) -> list[Seen]:
    """The audit log, in an order that does not depend on which partition was read first."""
    entries = await asyncio.to_thread(read_all, settings, "audit.events")
    return sorted(entries, key=lambda entry: (entry.partition, entry.offset))


async def test_a_rebuild_of_audit_adds_no_entry(settings: MeshSettings) -> None:
    await write(settings, runs(0, 10))
    await asyncio.to_thread(produce, settings, "agent.jobs", [("k", b"\x00garbage")])
    await filled(settings, AUDIT)
    entries = await logged(settings)
    assert len(entries) == 51
    _, survey, report = await rebuild(settings, stage=AUDIT)
    assert report.ok, report
    assert await logged(settings) == entries
    (check,) = report.checks
    assert (check.table, check.before, check.held, check.after) == ("audit.events", 51, 51, 51)
    assert survey.lost == {}

    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for entry in (entries[0], entries[7]):
        producer.produce(settings.physical_topic("audit.events"), entry.value, entry.key)
    assert producer.flush(20) == 0
    _, _, report = await rebuild(settings, stage=AUDIT)
    assert not report.ok
    assert report.checks[0].doubled == 2
    assert report.checks[0].examples[0].startswith("doubled: ")
