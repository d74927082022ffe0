"""Event streams of runs: history, then live, each record once, in causal order, up to the result."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext
from typing import Any

import httpx2
import msgspec
import orjson
import pytest

from headrace.gateway.accepted import AcceptedRuns
from headrace.gateway.feed import Feeds, Hub
from headrace.gateway.live_tail import LiveTail
from headrace.gateway.ports import RunEvent
from headrace.gateway.run_streams import RunStreams
from headrace.gateway.sequence import Sequence
from headrace.messages.base import Message
from headrace.messages.errors import UndecodableMessage
from headrace.messages.job import Job
from headrace.runtime.tail import TailRecord
from tests.gateway.support import Gateway, served

RUN = "run-1"
JOB = RunEvent("job", RUN, "agent.jobs", 0, 7, 1000)
CALLS_1 = RunEvent("tool_calls", RUN, "tool.calls", 1, 3, 1001, 1, {"calls": []})
RESULTS_1 = RunEvent("tool_results", RUN, "tool.results", 2, 9, 1002, 1)
CALLS_2 = RunEvent("tool_calls", RUN, "tool.calls", 1, 4, 1003, 2)
RESULTS_2 = RunEvent("tool_results", RUN, "tool.results", 2, 10, 1004, 2)
RESULT = RunEvent("result", RUN, "agent.results", 0, 1, 1005, 3, {"status": "completed"})
ALL = [JOB, CALLS_1, RESULTS_1, CALLS_2, RESULTS_2, RESULT]


@pytest.mark.parametrize("order", list(itertools.permutations(range(6)))[::17])
def test_any_arrival_order_comes_out_in_causal_order(order: tuple[int, ...]) -> None:
    sequence = Sequence()
    given = [event for place in order for event in sequence.push(ALL[place], ALL[place])]
    assert given + sequence.flush() == ALL
    assert sequence.push(*ALL) == []


def test_order_needs_no_flush_when_nothing_is_missing() -> None:
    sequence = Sequence()
    assert [e for event in reversed(ALL) for e in sequence.push(event)] == ALL


def test_a_record_without_its_cause_waits_for_the_flush() -> None:
    sequence = Sequence()
    assert sequence.push(CALLS_2) == []
    assert sequence.flush() == [CALLS_2]


def make_gateway() -> Gateway:
    gateway = Gateway()
    gateway.index.rows[RUN] = {"run_id": RUN, "agent_name": "a", "state": "running"}
    return gateway


async def read(gateway: Gateway, **headers: str) -> list[dict[str, Any]]:
    """The events of a whole stream."""
    async with served(gateway) as server, httpx2.AsyncClient(base_url=server.url) as client:
        response = await client.get(f"/v1/runs/{RUN}/events", headers=headers, timeout=20)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return parse(response.text)


def parse(text: str) -> list[dict[str, Any]]:
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            events.append(fields | {"data": orjson.loads(fields["data"])})
    return events


async def test_a_finished_run_is_its_history() -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = [RESULT, RESULTS_1, JOB, CALLS_1, RESULTS_2, CALLS_2]
    events = await read(gateway)
    assert [event["id"] for event in events] == [event.id for event in ALL]
    assert [event["event"] for event in events][-1] == "result"
    assert events[-1]["data"] == {
        "type": "result",
        "run_id": RUN,
        "step": 3,
        "topic": "agent.results",
        "partition": 0,
        "offset": 1,
        "timestamp_ms": 1005,
        "status": "completed",
    }


async def test_history_then_live_each_once() -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = [JOB, CALLS_1]
    reading = asyncio.create_task(read(gateway))
    tail = await started(gateway)
    for event in (CALLS_1, CALLS_2, RESULTS_1, RESULT, RESULTS_2):
        await tail.queue.put(event)
    assert [event["id"] for event in await reading] == [event.id for event in ALL]


async def started(gateway: Gateway) -> Any:
    await gateway.tail_made.wait()
    return gateway.tails[-1]


async def test_what_was_written_before_and_indexed_after_is_not_missed() -> None:
    gateway = make_gateway()
    reading = asyncio.create_task(read(gateway))
    await started(gateway)
    gateway.index.steps[RUN] = [JOB, RESULT]
    assert [event["event"] for event in await reading] == ["job", "result"]


async def test_a_client_goes_on_after_the_last_event_it_had() -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = list(ALL)
    events = await read(gateway, **{"last-event-id": RESULTS_1.id})
    assert [event["id"] for event in events] == [CALLS_2.id, RESULTS_2.id, RESULT.id]


async def test_an_unknown_last_event_hides_nothing() -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = list(ALL)
    events = await read(gateway, **{"last-event-id": "tool.calls/0/999"})
    assert [event["id"] for event in events] == [event.id for event in ALL]


async def test_an_idle_stream_is_kept_alive_and_a_stop_ends_it() -> None:
    gateway = Gateway(gateway_keepalive_s=0.01)
    gateway.index.rows[RUN] = {}
    streams = RunStreams(gateway.deps, AcceptedRuns(), silence_s=0.02)
    frames = streams._frames(RUN, None)
    assert [await anext(frames) for _ in range(3)] == [b": keep-alive\n\n"] * 3
    streams.close()
    assert [frame async for frame in frames] == []
    assert gateway.tails[0].stopped == 1


async def test_a_stop_of_the_server_ends_open_streams() -> None:
    gateway = make_gateway()
    async with served(gateway) as server, httpx2.AsyncClient(base_url=server.url) as client:
        reading = asyncio.create_task(client.get(f"/v1/runs/{RUN}/events", timeout=20))
        await started(gateway)
        await server.stop()
        assert (await reading).text == ""


async def test_the_database_going_away_ends_a_stream_with_an_error_event() -> None:
    gateway = make_gateway()
    streams = RunStreams(gateway.deps, AcceptedRuns(), silence_s=0.01)
    frames = streams._frames(RUN, None)
    gateway.index.away = True
    text = b"".join([frame async for frame in frames]).decode()
    assert parse(text) == [{"event": "error", "data": {"code": "unavailable"}}]
    assert "planted" not in text


async def test_one_tail_serves_all_and_ends_with_the_last() -> None:
    gateway = make_gateway()
    hub = gateway.feed
    async with hub.subscribe("a") as first, hub.subscribe("b") as second, hub.subscribe("b") as third:
        [tail] = gateway.tails
        for run_id in ("b", "c", "a"):
            await tail.queue.put(RunEvent("job", run_id, "agent.jobs", 0, 0, 0))
        assert [(await anext(each)).run_id for each in (first, second, third)] == ["a", "b", "b"]
        assert (tail.started, tail.stopped) == (1, 0)
    assert tail.stopped == 1
    async with hub.subscribe("a"):
        assert len(gateway.tails) == 2


async def test_a_tail_that_fails_ends_its_streams_and_the_next_one_gets_a_new_tail() -> None:
    class Broken:
        async def start(self) -> None: ...

        async def __aiter__(self) -> AsyncIterator[RunEvent]:
            raise OSError
            yield JOB

        async def stop(self) -> None: ...

    tails: list[Broken] = []

    def make(_watched: object) -> Broken:
        tails.append(Broken())
        return tails[-1]

    hub = Feeds(Hub(make), Hub(make))
    async with hub.subscribe(RUN) as live:
        assert [event async for event in live] == []
        async with hub.subscribe(RUN) as again:
            assert [event async for event in again] == []
    assert len(tails) == 2


async def test_a_subscriber_that_does_not_read_is_cut_off() -> None:
    gateway = make_gateway()
    async with gateway.feed.subscribe(RUN) as live:
        for offset in range(1500):
            await gateway.tails[0].queue.put(RunEvent("job", RUN, "agent.jobs", 0, offset, 0))
        await gateway.tails[0].queue.join()
        assert [event.offset async for event in live] == list(range(1000))


async def test_the_live_tail_decodes_only_what_is_watched() -> None:
    decoded: list[int] = []

    value = orjson.dumps(Job(job_id=RUN, prompt="planted").plain())

    def record(topic: str, offset: int, value: bytes, **headers: str) -> TailRecord:
        return TailRecord(topic, 0, offset, None, headers, value, 5)

    async def records() -> AsyncIterator[TailRecord]:
        yield record("agent.jobs", 1, value, ce_runid="other")
        yield record("agent.jobs", 2, value, ce_runid=RUN)
        yield record("agent.jobs", 3, value)
        yield record("agent.jobs", 4, b"garbage")
        yield record("tool.calls", 5, b"garbage")

    async def decode(topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, str]) -> Message:
        assert value is not None
        decoded.append(len(decoded))
        if value == b"garbage":
            raise UndecodableMessage("no")
        return msgspec.json.decode(value, type=Job)

    tail = LiveTail(nullcontext(records()), decode, {RUN}.__contains__)
    await tail.start()
    events = [event async for event in tail]
    assert [(event.type, event.run_id, event.offset) for event in events] == [("job", RUN, 2), ("job", RUN, 3)]
    assert len(decoded) == 3
    assert "planted" not in repr(events)
    await tail.stop()
