"""The worker on a real broker: exactly once, per-key order, retries, dead letters, restart, drain."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from headrace.messages.base import Message
from headrace.messages.errors import FatalError
from headrace.messages.job import Job
from headrace.runtime.api import Context, Send
from headrace.runtime.engine import Bounds
from headrace.runtime.poller import Assigned, Record
from headrace.runtime.retry import DeadLetterLimit
from headrace.settings import MeshSettings
from tests.runtime.kafka import Seen, committed, produce, read_all
from tests.runtime.relay import STAGE, Relay, job
from tests.runtime.running import running, until

Handle = Callable[[Message, Context], Awaitable[Sequence[Send]]]


def ids(seen: list[Seen]) -> list[str]:
    return [msgspec.json.decode(record.value, type=Job).job_id for record in seen]


def assert_same_order_per_key(inputs: list[Seen], outputs: list[Seen]) -> None:
    expected, found = defaultdict(list), defaultdict(list)
    for records, by_key in ((inputs, expected), (outputs, found)):
        for record, name in zip(records, ids(records), strict=True):
            by_key[record.key].append(name)
    assert found == expected


async def test_every_record_becomes_one_output_in_key_order(settings: MeshSettings) -> None:
    rng = random.Random(7)
    produce(settings, "agent.jobs", [job(n, f"key-{rng.randrange(40)}") for n in range(1500)])
    relay = Relay(lambda _job: rng.random() * 0.01)
    async with running(settings, relay) as worker:
        await until(lambda: worker.status()["finished"] == 1500)
    inputs, outputs = read_all(settings, "agent.jobs"), read_all(settings, "relayed")
    assert sorted(ids(outputs)) == sorted(ids(inputs))
    assert_same_order_per_key(inputs, outputs)
    assert relay.most_per_key == 1
    assert len(relay.started) == 1500


async def test_failures_are_retried_poison_goes_to_the_dead_letter_topic(settings: MeshSettings) -> None:
    prompts = {3: "flaky:2", 5: "poison", 8: "away:9", 9: "flaky:99"}
    produce(settings, "agent.jobs", [job(n, "one-key", prompts.get(n, "x")) for n in range(12)])
    produce(settings, "agent.jobs", [("other", b"not json"), (None, b'{"version": "2.0", "job_id": "j"}')])
    async with running(settings, Relay()) as worker:
        await until(lambda: worker.status()["finished"] == 14)
    outputs = read_all(settings, "relayed")
    assert ids(outputs) == [f"job-{n}" for n in range(12) if n not in (5, 9)]  # one key: order kept through the retries
    letters = {(r.headers["dlq_cause"], r.headers["dlq_attempts"]): r for r in read_all(settings, "relay.dlq")}
    assert set(letters) == {("poison", "1"), ("ValueError", "4"), ("json", "1"), ("unsupported_version", "1")}
    source = next(r for r in read_all(settings, "agent.jobs") if b"poison" in r.value)
    letter = letters[("poison", "1")]
    assert (letter.key, letter.value) == (source.key, source.value)
    assert letter.headers["dlq_topic"] == "agent.jobs"
    assert letter.headers["dlq_partition"] == str(source.partition)
    assert letter.headers["dlq_offset"] == str(source.offset)
    assert letter.headers["dlq_where"] == "/prompt"


async def test_a_straggler_holds_nothing_back_and_a_restart_repeats_only_it(settings: MeshSettings) -> None:
    make_one = [job(n, f"key-{n}", "slow" if n == 0 else "x") for n in range(300)]
    produce(settings, "agent.jobs", make_one)
    first = Relay(lambda j: 3600.0 if j.prompt == "slow" else 0.0)
    quick = settings.model_copy(update={"drain_seconds": 0.2})
    async with running(quick, first) as worker:
        await until(lambda: worker.status()["finished"] == 299)
    assert len(read_all(settings, "relayed")) == 299
    marks = committed(settings, STAGE.group, "agent.jobs", range(3))
    assert any(mark.metadata for mark in marks), "the straggler's partition has an offset map"
    second = Relay()
    async with running(settings, second) as worker:
        await until(lambda: worker.status()["finished"] == 1)
        await asyncio.sleep(0.3)
    assert second.started == ["job-0"]
    assert sorted(ids(read_all(settings, "relayed"))) == sorted(f"job-{n}" for n in range(300))


async def test_stop_drains_what_is_in_flight(settings: MeshSettings) -> None:
    produce(settings, "agent.jobs", [job(n, f"key-{n}") for n in range(50)])
    relay = Relay(lambda _job: 0.4)
    async with running(settings, relay):
        await until(lambda: len(relay.started) >= 50)
    assert len(read_all(settings, "relayed")) == 50


async def test_a_partition_that_comes_while_it_stops_is_left_alone(settings: MeshSettings) -> None:
    """Another member has just left, so its partitions come to one that drains."""
    produce(settings, "agent.jobs", [job(1, "slow-key")])
    release = asyncio.Event()
    relay = Relay()
    relay.handle = _held(relay.handle, release)  # type: ignore[method-assign]
    async with running(settings, relay) as worker:
        await until(lambda: worker.status()["in_flight"] == 1)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        worker.on_assigned([Assigned("agent.jobs", 77, -1, "")], token=None)
        worker.on_records([record(77, 0)], [])
        await asyncio.sleep(0.1)
        assert worker.status()["in_flight"] == 1
        release.set()
        await stopping
    assert relay.started == ["job-1"]


def _held(handle: Handle, release: asyncio.Event) -> Handle:
    async def held(message: Message, context: Context) -> Sequence[Send]:
        await release.wait()
        return await handle(message, context)

    return held


def record(partition: int, offset: int) -> Record:
    key, value = job(2, "other-key")
    return Record("agent.jobs", partition, offset, (key or "").encode(), value, [], 0, 100)


async def test_in_flight_is_bounded(settings: MeshSettings) -> None:
    produce(settings, "agent.jobs", [job(n, f"key-{n}") for n in range(200)])
    relay = Relay(lambda _job: 0.02)
    most = 0
    async with running(settings, relay, bounds=Bounds(max_in_flight=7, max_queued=20)) as worker:
        while worker.status()["finished"] < 200:
            most = max(most, sum(relay.in_flight.values()))
            await asyncio.sleep(0.001)
    assert most == 7
    assert len(read_all(settings, "relayed")) == 200


async def test_too_many_dead_letters_stop_the_worker(settings: MeshSettings) -> None:
    produce(settings, "agent.jobs", [job(n, f"key-{n}", "poison") for n in range(100)])
    async with running(settings, Relay(), dead_letter_limit=DeadLetterLimit(window=50, least=20)) as worker:
        with pytest.raises(FatalError, match="dead-letters too much"):
            await asyncio.wait_for(worker.wait(), 30)
    assert len(read_all(settings, "relay.dlq")) < 20
