"""``POST /test/chat``, ``GET /health`` and the reading of sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from headrace.messages.ids import result_id
from headrace.messages.job import Job
from tests.gateway.support import Gateway, error_of
from tests.gateway.test_doors import JSON, jobs, make


@pytest.fixture
def gateway() -> Gateway:
    return make()


async def chat(gateway: Gateway, path: str, body: Any = None, **end: Any) -> tuple[Any, Job]:
    content = b"" if body is None else orjson.dumps(body)
    asking = asyncio.create_task(gateway.post(path, content, JSON if content else {}))
    async with asyncio.timeout(20):
        while not jobs(gateway):
            assert not asking.done(), asking.result().text
            await asyncio.sleep(0.01)
    [job] = jobs(gateway)
    gateway.index.end(job.job_id, job.agent, **end)
    return await asking, job


@pytest.mark.parametrize("by", ["body", "query"])
async def test_a_prompt_gets_the_result_of_its_run(gateway: Gateway, by: str) -> None:
    asked = {"prompt": "fetch flights", "session_id": "s-1", "double_texting": "reject"}
    query = "?prompt=fetch+flights&session_id=s-1&double_texting=reject"
    answer, job = await chat(
        gateway, "/test/chat" + (query if by == "query" else ""), asked if by == "body" else None, output=[1]
    )
    assert (job.agent, job.prompt, job.context.session_id, job.double_texting) == (
        "assistant",
        "fetch flights",
        "s-1",
        "reject",
    )
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "job_id": job.job_id,
            "status": "completed",
            "result": [1],
            "result_ref": f"artifact://{result_id('acme', job.job_id)}",
            "error": None,
        },
    )


async def test_an_exhausted_budget_is_429_and_no_run(gateway: Gateway) -> None:
    gateway.budgets.empty = {"chat": None}
    answer = await gateway.post("/test/chat", orjson.dumps({"prompt": "fetch flights", "session_id": "s-1"}), JSON)
    assert (answer.status_code, error_of(answer)["code"]) == (429, "budget_exhausted")
    assert answer.headers["retry-after"] == "3600"
    assert gateway.budgets.asked == [("assistant", "s-1")]
    assert jobs(gateway) == []


async def test_a_run_that_fails_says_why(gateway: Gateway) -> None:
    error = {"type": "session_busy", "message": "another run of its session was under way", "retryable": True}
    answer, _ = await chat(gateway, "/test/chat", {"prompt": "hello"}, error=error)
    shown = answer.json()
    assert (answer.status_code, shown["status"], shown["error"], shown["result_ref"]) == (200, "failed", error, None)


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({}, 422, "/prompt"),
        ({"prompt": ""}, 422, "/prompt"),
        ({"prompt": "x", "promt": "y"}, 422, "/promt"),
        ({"prompt": "x", "agent": "nobody"}, 400, "/agent"),
        ({"prompt": "x", "double_texting": "shout"}, 422, "/double_texting"),
    ],
)
async def test_what_is_no_prompt_is_refused(gateway: Gateway, body: Any, status: int, where: str) -> None:
    answer = await gateway.post("/test/chat", orjson.dumps(body), JSON)
    assert (answer.status_code, error_of(answer)["where"]) == (status, where)
    assert jobs(gateway) == []


async def test_an_answer_that_does_not_come_in_time_is_a_timeout_with_the_run() -> None:
    gateway = make(gateway_max_wait_s=0.05)
    answer = await gateway.post("/test/chat", orjson.dumps({"prompt": "hello"}), JSON)
    assert (answer.status_code, error_of(answer)["code"]) == (504, "timeout")
    assert answer.headers["location"] == f"/v1/runs/{jobs(gateway)[0].job_id}"


async def test_health(gateway: Gateway) -> None:
    assert (await gateway.get("/health")).json() == {"status": "ok"}


async def test_a_session_is_read_by_whatever_name_it_has(gateway: Gateway) -> None:
    gateway.sessions.known["chat/7 ü"] = {"session_id": "chat/7 ü", "turns": 1}
    assert (await gateway.get("/v1/sessions/chat/7%20%C3%BC")).json()["turns"] == 1
    assert (await gateway.get("/v1/sessions")).json() == {"sessions": [{"session_id": "chat/7 ü"}]}
    missing = await gateway.get("/v1/sessions/other")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "unknown_session")
    assert (await gateway.get("/v1/sessions", params={"limit": 0})).status_code == 422
