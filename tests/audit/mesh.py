"""An audit worker on the test's own topics, records for it to read, and its log read back."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import fastavro
import msgspec
from confluent_kafka import Producer

from headrace.audit.heads import Heads
from headrace.audit.processor import AuditProcessor
from headrace.audit.reading import entry_wire, read, scan_entries
from headrace.messages.agent import AgentDefinition, AgentRecord
from headrace.messages.audit import AuditEvent
from headrace.messages.base import Message
from headrace.messages.budget import Budget, BudgetChange
from headrace.messages.codec import AVRO_FORMS
from headrace.messages.event import Event, Origin
from headrace.messages.job import Job
from headrace.messages.replay import ReplayAction
from headrace.messages.result import AgentResult, ResultError, ResultMetadata, ToolCallSummary
from headrace.messages.run import (
    AgentRef,
    Progress,
    RunInfo,
    ToolCall,
    ToolCalls,
    ToolError,
    ToolOutcome,
    ToolResults,
    Transcript,
    Turn,
    Usage,
)
from headrace.messages.wait import Decision, PendingCall, RunWait, WaitCompletion
from headrace.messages.workflow import WorkflowSignal, WorkStart
from headrace.pipeline import STAGES
from headrace.runtime.api import Send
from headrace.runtime.engine import Bounds
from headrace.runtime.retry import RetryPolicy
from headrace.runtime.scan import Scan
from headrace.runtime.wire import Wire
from headrace.runtime.worker import Worker
from headrace.settings import MeshSettings
from tests.runtime.kafka import Seen, make_topics, read_all
from tests.runtime.relay import NoBlobs

STAGE = STAGES["audit"]
SECRET = "the-text-of-a-prompt-that-no-entry-may-hold"
FAST_RETRY = RetryPolicy(first_s=0.01, longest_s=0.1)
RUN = RunInfo(
    tenant="acme",
    run_id="run-1",
    agent=AgentRef(name="triager", version="1.2.3", definition_hash="d" * 16, prompt_hash="p" * 16),
    model="offline",
    started_ms=1_000,
    deadline_ms=9_000,
    user_id="jane",
    session_id="s-1",
    event_uid="e-1",
    event_type="com.acme.thing",
)
USAGE = Usage(input_tokens=100, output_tokens=20, cost_usd=0.25, model_calls=1)
PROGRESS = Progress(step=1, usage=USAGE)


def make_audit_topics(settings: MeshSettings, *, partitions: int = 2) -> None:
    make_topics(settings, [*STAGE.consumes, AuditEvent.TOPIC, STAGE.dead_letters], partitions=partitions)


def worker(settings: MeshSettings, processor: Any = None) -> Worker:
    processor = processor or AuditProcessor(Heads(settings), "default")
    return Worker(STAGE, processor, settings, NoBlobs(), bounds=Bounds(max_queued=40_000), retry=FAST_RETRY)


@asynccontextmanager
async def auditing(settings: MeshSettings, processor: Any = None) -> AsyncIterator[Worker]:
    running = worker(settings, processor)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
        await running.wait()


async def audited(settings: MeshSettings, count: int, seconds: float = 60) -> list[AuditEvent]:
    """Wait until there are ``count`` entries; all that there are."""
    async with asyncio.timeout(seconds):
        while True:
            began = time.monotonic()
            found = await entries(settings)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.2 + time.monotonic() - began)


async def entries(settings: MeshSettings) -> list[AuditEvent]:
    async with entry_wire(settings) as wire, scan_entries(settings) as scan:
        found = [item async for item in read(wire, scan)]
    assert all(item.entry for item in found)
    return [item.entry for item in found if item.entry]


async def sources(settings: MeshSettings) -> dict[str, list[int]]:
    """Offsets of all records that audit should have an entry of, by chain."""
    found: dict[str, list[int]] = defaultdict(list)
    async with Scan(settings, STAGE.consumes) as scan:
        async for batch in scan:
            for record in batch:
                found[f"{record.topic}/{record.partition}"].append(record.offset)
    return dict(found)


def by_chain(found: Iterable[AuditEvent]) -> dict[str, list[int]]:
    chains: dict[str, list[int]] = defaultdict(list)
    for entry in found:
        chains[entry.chain].append(entry.source_offset)
    return dict(chains)


# --- records ------------------------------------------------------------------------------------------------------------------


def one_of_each() -> list[Message]:
    """A message for every topic that has one, each with text that is no audit's business."""
    call = ToolCall(
        call_id="c", tool="execute_pipeline", tool_version="1", arguments={"x": SECRET}, idempotency_key="i"
    )
    failed = ToolError(type="http_status", message=SECRET)
    definition = AgentDefinition(
        name="triager", version="1.2.3", category="c", description=SECRET, system_prompt=SECRET, model="offline"
    )
    event = Event(
        uid="e-1",
        id="1",
        source="/shop",
        type="com.acme.thing",
        time="2026-01-01T00:00:00Z",
        tenant="acme",
        partition_key="k",
        data={"text": SECRET},
        origin=Origin(kind="envelope", topic="ingest.raw", partition=0, offset=0),
    )
    turn = Turn(text=SECRET, usage=USAGE, model="offline", latency_ms=40)
    return [
        event,
        Job(job_id="run-1", tenant="acme", agent="triager", prompt=SECRET, user_id="jane", event=event),
        ToolCalls(run=RUN, progress=PROGRESS, transcript=Transcript(), turns=(turn,), calls=(call,)),
        ToolResults(
            run=RUN,
            progress=PROGRESS,
            transcript=Transcript(),
            results=(
                ToolOutcome(
                    call_id="c", tool="execute_pipeline", tool_version="1", status="error", error=failed, duration_ms=7
                ),
            ),
        ),
        AgentResult(
            job_id="run-1",
            status="failed",
            tenant="acme",
            agent_name="triager",
            agent_version="1.2.3",
            completed_at="2026-01-01T00:00:01Z",
            started_ms=1_000,
            completed_ms=3_500,
            output=SECRET,
            usage=USAGE,
            metadata=ResultMetadata(
                llm_model="offline", tool_calls=(ToolCallSummary(tool="execute_pipeline", args={"x": SECRET}),)
            ),
            error=ResultError(type="limit_tokens", message=SECRET),
        ),
        RunWait(
            run=RUN,
            progress=PROGRESS,
            transcript=Transcript(),
            calls=(call,),
            pending=(PendingCall(call_id="c", kind="approval", deadline_ms=9_000, arguments_hash="a" * 64),),
        ),
        WaitCompletion(
            tenant="acme",
            run_id="run-1",
            agent="triager",
            step=1,
            call_id="c",
            cause="decision",
            decision=Decision(
                verdict="approve", arguments_hash="a" * 64, by="key-7", arguments={"x": SECRET}, reason=SECRET
            ),
        ),
        AgentRecord(name="triager", definition=definition),
        BudgetChange(
            name="all",
            action="set",
            budget=Budget(name="all", scope="agent", agent="triager", usd=1.0),
            changed_by="key-1",
            changed_at="2026-01-01T00:00:00Z",
        ),
        WorkflowSignal(
            tenant="acme",
            run_id="workflow-run-1",
            id="signal-1",
            kind="start",
            start=WorkStart(tag="main", input={"text": SECRET}, user_id="jane"),
        ),
        ReplayAction(
            tenant="acme",
            action_id="a-1",
            kind="rebuild",
            phase="failed",
            by="cli:jane@desk",
            service="persistence",
            range="to earliest",
            error="GroupActive",
            at="2026-01-01T00:00:00Z",
        ),
    ]


async def write(settings: MeshSettings, messages: Iterable[Message]) -> None:
    """As the mesh's own services write them."""
    wire = Wire("test", settings, NoBlobs())
    await wire.open()
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "linger.ms": 5})
    try:
        for message in messages:
            (record,) = await wire.encode_all([Send(message)], {"ce_id": "cause-1"})
            headers: Any = record.headers
            producer.produce(settings.physical_topic(record.topic), record.value, record.key, headers=headers)
    finally:
        await wire.close()
    assert producer.flush(30) == 0


def write_raw(
    settings: MeshSettings, topic: str, records: Sequence[tuple[Any, Any, Any]], *, partition: int = 0
) -> None:
    """Key, value and headers as they are."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "linger.ms": 5})
    for key, value, headers in records:
        producer.produce(settings.physical_topic(topic), value, key, headers=headers, partition=partition)
        producer.poll(0)
    assert producer.flush(30) == 0


def jobs(count: int, start: int = 0) -> list[tuple[bytes, bytes, None]]:
    return [
        (b"k%d" % (n % 50), msgspec.json.encode(Job(job_id=f"job-{n}", prompt="x")), None)
        for n in range(start, start + count)
    ]


# --- tampering -----------------------------------------------------------------------------------------------------------------


def copy_log(
    settings: MeshSettings, target: MeshSettings, change: Callable[[list[Seen]], list[Seen]], *, partitions: int
) -> None:
    """The log under another prefix, changed. Schema ids are the registry's, which both share."""
    make_topics(target, [AuditEvent.TOPIC], partitions=partitions)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for record in change(read_all(settings, AuditEvent.TOPIC)):
        producer.produce(target.physical_topic(AuditEvent.TOPIC), record.value, record.key, partition=record.partition)
    assert producer.flush(30) == 0


def datum(value: bytes) -> dict[str, Any]:
    """An entry's Avro value as anybody reads it."""
    assert struct.unpack(">b", value[:1]) == (0,)
    found = fastavro.schemaless_reader(BytesIO(value[5:]), fastavro.parse_schema(AVRO_FORMS[AuditEvent].schema), None)
    assert isinstance(found, dict)
    return found
