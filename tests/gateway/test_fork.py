"""``POST /v1/runs/{run_id}/fork`` over a stand-in for the records of runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from headrace.forks.edits import CantFork, Edits, UnknownRun
from headrace.forks.plan import Asked, Planned, planned
from headrace.gateway.app import create_app
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.job import Job
from tests.gateway.support import Gateway, error_of

JOB = Job(job_id="run-1", agent="pr-reviewer", prompt="Look.", tenant="acme")


class Records:
    """One run, which began with ``JOB``; ``fail`` is raised instead."""

    def __init__(self, fail: Exception | None = None) -> None:
        self.asked: list[Asked] = []
        self._fail = fail

    async def plan(self, run_id: str, asked: Asked) -> Planned:
        self.asked.append(asked)
        if self._fail is not None:
            raise self._fail
        return planned(JOB, "1.2.0", [], asked)


def make(records: Records) -> Gateway:
    gateway = Gateway()
    gateway.app = create_app(replace(gateway.deps, forks=records))
    return gateway


async def fork(gateway: Gateway, body: Any) -> Any:
    return await gateway.post("/v1/runs/run-1/fork", orjson.dumps(body), {"content-type": "application/json"})


async def test_a_fork_is_a_job_and_the_same_request_the_same_run() -> None:
    records = Records()
    gateway = make(records)
    first, second = [await fork(gateway, {"at": 0, "prompt": "Look again."}) for _ in range(2)]
    assert (first.status_code, first.json()) == (202, second.json())
    job = gateway.publisher.sends[0].message
    assert isinstance(job, Job)
    assert first.json()["run_id"] == job.job_id
    assert first.headers["location"] == first.json()["status_url"] == f"/v1/runs/{job.job_id}"
    assert (job.prompt, job.agent_version, job.fork and job.fork.origin.edited) == ("Look again.", "1.2.0", ("prompt",))
    assert records.asked[0] == Asked(0, Edits(prompt="Look again."), by="unauthenticated")


async def test_a_dry_run_writes_nothing() -> None:
    gateway = make(Records())
    answer = await fork(gateway, {"dry_run": True})
    assert (answer.status_code, answer.json()["anew"]["from"]) == (200, "job")
    assert gateway.publisher.sends == []


async def test_refusals_name_the_place() -> None:
    cases = [
        (None, {"at": -1}, 422, "/at"),
        (None, {"unknown": 1}, 422, "/unknown"),
        (None, {"input": 1, "prompt": "x"}, 422, "/input"),
        (None, {"version": "9.9.9"}, 400, "/version"),
        (None, {"at": 4}, 409, "/at"),
        (None, {"at": 0, "tool_results": {"planted": 1}}, 422, "/tool_results"),
        (UnknownRun("no such run", "run_id"), {}, 404, "run_id"),
        (CantFork("its job is gone", "run_id"), {}, 409, "run_id"),
        (DependencyUnavailable("planted detail"), {}, 503, None),
    ]
    for fail, body, status, where in cases:
        gateway = make(Records(fail))
        answer = await fork(gateway, body)
        assert (answer.status_code, error_of(answer).get("where")) == (status, where), body
        assert "planted detail" not in answer.text
        assert gateway.publisher.sends == []


async def test_without_records_it_says_so() -> None:
    assert (await fork(Gateway(), {})).status_code == 503
