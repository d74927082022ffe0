"""An audit log to count: entries, a writer that commits and aborts like a worker, and the truth to compare with."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

from headrace.analytics.entries import UNKNOWN_AGENT
from headrace.blobs.memory import MemoryBlobs
from headrace.messages.audit import AuditEvent
from headrace.messages.ids import audit_id
from headrace.messages.totals import Run, Totals
from headrace.runtime.api import Send
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings
from tests.contract.kafka import write

AGENTS = ("pr-risk-reviewer", "alert-summariser", "ci-failure-triager")
MINUTE_MS = 60_000
ZERO = "0" * 64


def finished(offset: int, *, partition: int = 0, at_ms: int, **facts: Any) -> AuditEvent:
    """The entry of a finished run: the record at ``offset`` of a partition of agent.results."""
    return AuditEvent(
        id=audit_id("agent.results", partition, offset),
        kind="run_finished",
        source_topic="agent.results",
        source_partition=partition,
        source_offset=offset,
        source_timestamp_ms=at_ms,
        record_digest=ZERO,
        sequence=offset,
        previous_hash=ZERO,
        hash=ZERO,
        run_id=f"run-{partition}-{offset}",
        **{"agent_name": AGENTS[0], "status": "completed"} | facts,
    )


def other(offset: int, *, at_ms: int) -> AuditEvent:
    """An entry that is not counted."""
    entry = finished(offset, at_ms=at_ms, input_tokens=1_000_000)
    return entry.replace(kind="tool_called", source_topic="tool.calls")


def some(rng: random.Random, count: int, *, start_ms: int, partitions: int = 6) -> list[AuditEvent]:
    """``count`` finished runs over ten minutes, in order within each source partition, between other entries."""
    offsets = [0] * partitions
    entries: list[AuditEvent] = []
    for number in range(count):
        at_ms = start_ms + number * 10 * MINUTE_MS // count
        if rng.random() < 0.3:
            entries.append(other(number, at_ms=at_ms))
        partition = rng.randrange(partitions)
        offsets[partition] += rng.randint(1, 3)
        entries.append(
            finished(
                offsets[partition],
                partition=partition,
                at_ms=at_ms,
                tenant=rng.choice(("default", "acme")),
                agent_name=rng.choice(AGENTS),
                status=rng.choice(("completed", "completed", "failed")),
                model=rng.choice(("anthropic:a", "openai:b")),
                input_tokens=rng.randrange(5_000),
                output_tokens=rng.randrange(500),
                cost_usd=rng.random() / 100,
                duration_ms=rng.randrange(1, 90_000),
            )
        )
    return entries


def truth(entries: Iterable[AuditEvent], *, seconds: int = 60) -> dict[tuple[str, str, int], Totals]:
    """What must come out, counted the plain way: by tenant, agent and start of the window (epoch milliseconds)."""
    windows: dict[tuple[str, str, int], Totals] = {}
    for entry in entries:
        if entry.kind != "run_finished":
            continue
        start = entry.source_timestamp_ms // (seconds * 1000) * seconds * 1000
        run = Run(
            entry.status != "completed",
            entry.model or "",
            entry.input_tokens or 0,
            entry.output_tokens or 0,
            entry.cost_usd or 0.0,
            entry.duration_ms,
        )
        key = (entry.tenant, entry.agent_name or UNKNOWN_AGENT, start)
        windows[key] = windows.get(key, Totals()) + Totals.of(run)
    return windows


def append(settings: MeshSettings, entries: Sequence[AuditEvent], *, commit: bool = True) -> None:
    """Write ``entries`` as the audit service does: Avro, keyed by chain, in one transaction."""

    async def encoded() -> list[Any]:
        wire = Wire("audit", settings, MemoryBlobs(), topics=("audit.events",))
        try:
            await wire.open()
            return await wire.encode_all([Send(entry) for entry in entries], {})
        finally:
            await wire.close()

    write(settings, asyncio.run(encoded()), commit=commit)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
