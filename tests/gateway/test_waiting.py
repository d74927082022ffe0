"""Waiting for a result within a request, and cancelling a run."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest

from headrace.gateway.waiting import Waiting
from tests.gateway.support import Gateway, error_of, served

JSON = {"content-type": "application/json"}
REQUEST = orjson.dumps({"agent": "pr-reviewer", "input": {"title": "Fix"}, "idempotency_key": "k"})
RUN = "run-1"


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def run(gateway: Gateway, wait: str = "20") -> httpx2.Response:
    return await gateway.post(f"/v1/runs?wait={wait}", REQUEST, JSON)


async def started(gateway: Gateway) -> str:
    async with asyncio.timeout(20):
        while not gateway.publisher.sends:
            await asyncio.sleep(0.01)
    return str(gateway.publisher.sends[0].message.message_id())


async def test_a_run_that_ends_in_time_is_answered_with_its_output(gateway: Gateway) -> None:
    asking = asyncio.create_task(run(gateway))
    run_id = await started(gateway)
    await asyncio.sleep(0.15)
    assert not asking.done()
    gateway.index.end(run_id, "pr-reviewer", output={"risk": "low"})
    answer = await asking
    assert answer.status_code == 200
    shown = answer.json()
    assert shown.pop("result_url").startswith("/v1/results/")
    assert shown == {
        "run_id": run_id,
        "state": "completed",
        "output": {"risk": "low"},
        "status_url": f"/v1/runs/{run_id}",
    }
    assert (await run(gateway)).json()["output"] == {"risk": "low"}, "the same key, the same run, at once"


async def test_a_run_that_failed_is_answered_with_its_error(gateway: Gateway) -> None:
    asking = asyncio.create_task(run(gateway))
    gateway.index.end(await started(gateway), "pr-reviewer", error={"type": "timeout", "message": "m"})
    shown = (await asking).json()
    assert (shown["state"], shown["error"], "output" in shown) == ("failed", {"type": "timeout", "message": "m"}, False)


@pytest.mark.parametrize("wait", ["0", "0.05"])
async def test_a_run_that_does_not_is_202(gateway: Gateway, wait: str) -> None:
    answer = await run(gateway, wait)
    assert (answer.status_code, set(answer.json())) == (202, {"run_id", "status_url"})


async def test_a_wait_is_cut_to_the_bound() -> None:
    assert (await run(Gateway(gateway_max_wait_s=0.05), "86400")).status_code == 202


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", ""])
async def test_a_wait_that_is_none_is_422_and_starts_nothing(gateway: Gateway, wait: str) -> None:
    answer = await run(gateway, wait)
    assert (answer.status_code, error_of(answer)["where"]) == (422, "query/wait")
    assert gateway.publisher.calls == []


async def test_an_index_that_is_away_is_waited_for(gateway: Gateway) -> None:
    waiting = Waiting(gateway.deps, every_s=0.01)
    gateway.index.away = True
    asking = asyncio.create_task(waiting.outcome(RUN, 20))
    await asyncio.sleep(0.05)
    gateway.index.end(RUN, "a", output="late")
    gateway.index.away = False
    ended = await asking
    assert ended is not None
    assert ended["output"] == "late"


async def test_all_who_wait_ask_together_and_nobody_asks_when_none_wait(gateway: Gateway) -> None:
    questions: list[list[str]] = []

    async def ended(run_ids: Any) -> set[str]:
        questions.append(sorted(run_ids))
        return set()

    gateway.index.ended = ended  # type: ignore[method-assign]
    waiting = Waiting(gateway.deps, every_s=0.01)
    await asyncio.gather(*(waiting.outcome(f"r{n % 3}", 0.1) for n in range(9)))
    assert questions[0] == ["r0", "r1", "r2"]
    await asyncio.sleep(0.05)
    asked = len(questions)
    await asyncio.sleep(0.05)
    assert len(questions) == asked


async def test_too_many_do_not_wait() -> None:
    gateway = Gateway(gateway_max_streams=1)
    waiting = Waiting(gateway.deps)
    first = asyncio.create_task(waiting.outcome("r0", 20))
    await asyncio.sleep(0)
    assert await waiting.outcome("r1", 20) is None
    waiting.close()
    assert await first is None


async def test_a_gateway_that_stops_answers_those_who_wait(gateway: Gateway) -> None:
    async with httpx2.AsyncClient(timeout=20) as client:
        async with served(gateway) as server:
            url = f"{server.url}/v1/runs?wait=50"
            asking = asyncio.create_task(client.post(url, content=REQUEST, headers=JSON))
            await started(gateway)
            await asyncio.sleep(0.05)
        assert (await asking).status_code == 202


async def test_reading_a_run_can_wait_too(gateway: Gateway) -> None:
    gateway.index.rows[RUN] = {"run_id": RUN, "state": "running", "agent_name": "a"}
    asking = asyncio.create_task(gateway.get(f"/v1/runs/{RUN}?wait=20"))
    await asyncio.sleep(0.15)
    assert not asking.done()
    gateway.index.end(RUN, "a", output=1)
    assert (await asking).json()["state"] == "completed"
    assert (await gateway.get(f"/v1/runs/{RUN}?wait=-1")).status_code == 422


# --- cancelling ----------------------------------------------------------------------------------------------------------


async def cancel(gateway: Gateway) -> httpx2.Response:
    return await gateway.post(f"/v1/runs/{RUN}/cancel", b"")


async def test_a_run_that_goes_on_is_asked_to_end(gateway: Gateway) -> None:
    gateway.index.rows[RUN] = {"run_id": RUN, "state": "running", "agent_name": "a"}
    answer = await cancel(gateway)
    assert (answer.status_code, answer.json()) == (202, {"run_id": RUN, "status_url": f"/v1/runs/{RUN}"})
    assert gateway.cancellations.asked == [("acme", RUN)]


async def test_a_run_that_is_not_indexed_yet_can_be_cancelled_where_it_was_asked_for(gateway: Gateway) -> None:
    run_id = (await run(gateway, "0")).json()["run_id"]
    assert (await gateway.post(f"/v1/runs/{run_id}/cancel", b"")).status_code == 202
    assert gateway.cancellations.asked == [("acme", run_id)]


async def test_a_run_that_has_ended_is_409_unless_it_was_cancelled(gateway: Gateway) -> None:
    gateway.index.end(RUN, "a", output=1)
    answer = await cancel(gateway)
    assert (answer.status_code, error_of(answer)["code"]) == (409, "run_ended")
    gateway.index.end(RUN, "a", error={"type": "cancelled", "message": "m"})
    assert (await cancel(gateway)).status_code == 202
    assert gateway.cancellations.asked == []


async def test_a_run_that_is_none_is_404(gateway: Gateway) -> None:
    answer = await cancel(gateway)
    assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_run")


async def test_a_run_that_another_gateway_took_is_cancelled_once_it_is_indexed() -> None:
    gateway = Gateway(gateway_unknown_wait_s=20)
    asking = asyncio.create_task(cancel(gateway))
    await asyncio.sleep(0.15)
    assert not asking.done()
    assert gateway.cancellations.asked == [], "of what may not exist nothing is kept"
    gateway.index.rows[RUN] = {"run_id": RUN, "state": "running", "agent_name": "a"}
    assert (await asking).status_code == 202
    assert gateway.cancellations.asked == [("acme", RUN)]


async def test_a_run_that_nobody_knows_is_looked_for_no_longer_than_that() -> None:
    gateway = Gateway(gateway_unknown_wait_s=0.25)
    assert (await cancel(gateway)).status_code == 404
    assert gateway.cancellations.asked == []


async def test_a_list_is_narrowed(gateway: Gateway) -> None:
    await gateway.get("/v1/runs?agent=a&state=failed&event_type=t&session_id=s&user_id=u")
    [asked] = gateway.index.asked
    assert (asked.agent, asked.state, asked.event_type, asked.session_id, asked.user_id) == (
        "a",
        "failed",
        "t",
        "s",
        "u",
    )
