"""What a model writes, on a run's event stream: only for who asks, beside the records, never instead of them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from headrace.gateway.feed import Recall
from headrace.gateway.ports import RunEvent
from headrace.messages.tokens import RunTokens
from tests.gateway.support import Gateway, error_of, served
from tests.gateway.test_streams import ALL, CALLS_1, JOB, RESULT, RESULTS_1, RUN, make_gateway, parse, started


def piece(offset: int, text: str, *, step: int = 1, at: int = 0, run_id: str = RUN, ms: int = 1000) -> RunEvent:
    return RunEvent("tokens", run_id, RunTokens.TOPIC, 0, offset, ms, step, {"at": at, "text": text})


async def follow(gateway: Gateway, query: str = "?tokens=true", **headers: str) -> list[dict[str, Any]]:
    async with served(gateway) as server, httpx2.AsyncClient(base_url=server.url) as client:
        response = await client.get(f"/v1/runs/{RUN}/events{query}", headers=headers, timeout=20)
    assert response.status_code == 200
    return parse(response.text)


async def written(gateway: Gateway, *pieces: RunEvent) -> None:
    for one in pieces:
        await gateway.written.queue.put(one)
    await gateway.written.queue.join()


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"].get("text") or event["event"] for event in events]


async def test_pieces_come_between_the_records_and_stale_ones_do_not() -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = [JOB]
    following = asyncio.create_task(follow(gateway))
    tail = await started(gateway)
    await written(gateway, piece(0, "Look"), piece(1, "ing", at=4), piece(2, "other", run_id="run-2"))
    await tail.queue.put(CALLS_1)
    await tail.queue.join()
    await written(gateway, piece(3, "late", at=7), piece(4, "Done", step=2))
    for record in (RESULTS_1, *ALL[3:]):
        await tail.queue.put(record)
    events = await following
    assert names(events) == [
        *("job", "Look", "ing", "tool_calls", "Done", "tool_results", "tool_calls", "tool_results", "result")
    ]
    token = next(event for event in events if event["event"] == "tokens")
    assert "id" not in token
    assert {name: token["data"][name] for name in ("run_id", "step", "at", "text")} == {
        "run_id": RUN,
        "step": 1,
        "at": 0,
        "text": "Look",
    }


@pytest.mark.parametrize("query", ["", "?tokens=false"])
async def test_who_does_not_ask_gets_none_and_nobody_reads_them(query: str) -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = [JOB, RESULT]
    assert names(await follow(gateway, query)) == ["job", "result"]
    assert gateway.written.started == 0


async def test_tokens_are_asked_for_by_true_or_false() -> None:
    refused = await make_gateway().get(f"/v1/runs/{RUN}/events?tokens=perhaps")
    assert (refused.status_code, error_of(refused)["where"]) == (422, "query/tokens")


async def test_who_comes_a_little_late_gets_what_was_just_now() -> None:
    gateway = make_gateway()
    async with gateway.feed.subscribe("run-2", tokens=True):
        await written(gateway, piece(0, "Look"), piece(1, "ing", at=4))
        async with gateway.feed.subscribe(RUN, tokens=True) as live:
            await written(gateway, piece(2, "!", at=7))
            async with asyncio.timeout(10):
                assert [(await anext(live)).data["text"] for _ in range(3)] == ["Look", "ing", "!"]
    assert (gateway.written.started, gateway.written.stopped) == (1, 1)


async def test_a_reconnecting_client_goes_on_after_its_last_record_whatever_was_written() -> None:
    gateway = make_gateway()
    gateway.index.steps[RUN] = [JOB, CALLS_1, RESULTS_1]
    following = asyncio.create_task(follow(gateway, **{"last-event-id": RESULTS_1.id}))
    tail = await started(gateway)
    await written(gateway, piece(0, "Next", step=2))
    for record in ALL[3:]:
        await tail.queue.put(record)
    assert names(await following) == ["Next", "tool_calls", "tool_results", "result"]


def test_what_is_recalled_is_bounded_in_time_and_number() -> None:
    recall = Recall(seconds=1, most=3)
    for number in range(4):
        recall.add(piece(number, str(number), ms=1000))
    assert [event.data["text"] for event in recall.of(RUN)] == ["1", "2", "3"]
    recall.add(piece(9, "9", ms=2001))
    assert [event.data["text"] for event in recall.of(RUN)] == ["9"]
    assert recall.of("run-2") == []
