"""``POST /agent``, ``POST /agents/run``, ``GET /agents/status/{run_id}``: names, bodies and answers as older callers know them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from headrace.gateway.app import create_app
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.job import Job
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from tests.gateway.support import Gateway

JSON = {"content-type": "application/json"}
USER = "9b64a3a7-f8e4-4f06-8e57-73b50b042f29"
RUN = {"agent_type": "policy-checker", "user_id": USER}


def make(**settings: Any) -> Gateway:
    gateway = Gateway(**settings)
    gateway.app = create_app(replace(gateway.deps, catalog=catalog_of(builtin_definitions())))
    return gateway


@pytest.fixture
def gateway() -> Gateway:
    return make()


def jobs(gateway: Gateway) -> list[Job]:
    return [send.message for send in gateway.publisher.sends if isinstance(send.message, Job)]


async def post(gateway: Gateway, path: str, body: Any) -> Any:
    return await gateway.post(path, orjson.dumps(body), JSON)


async def published(gateway: Gateway) -> str:
    """The id of the run that is asked for next, or was."""
    async with asyncio.timeout(20):
        while not jobs(gateway):
            await asyncio.sleep(0.01)
    return jobs(gateway)[-1].job_id


async def asked(gateway: Gateway, *, output: Any = None, error: dict[str, Any] | None = None) -> Any:
    """The answer of POST /agent, whose run ends like that."""
    asking = asyncio.create_task(post(gateway, "/agent", {"prompt": "What do you do?"}))
    await published(gateway)
    [job] = jobs(gateway)
    assert (job.agent, job.prompt) == ("assistant", "What do you do?")
    gateway.index.end(job.job_id, job.agent, output=output, error=error)
    return await asking


async def test_a_prompt_gets_a_response(gateway: Gateway) -> None:
    answer = await asked(gateway, output="I answer.")
    assert (answer.status_code, answer.json()) == (200, {"response": "I answer."})
    assert answer.headers["location"] == f"/v1/runs/{jobs(gateway)[0].job_id}"


async def test_an_answer_that_is_no_text_is_json(gateway: Gateway) -> None:
    assert (await asked(gateway, output={"a": 1})).json() == {"response": '{"a":1}'}


async def test_a_run_that_fails_is_502(gateway: Gateway) -> None:
    answer = await asked(gateway, error={"type": "timeout", "message": "not finished"})
    assert (answer.status_code, answer.json()) == (502, {"detail": "the run failed: timeout: not finished"})


async def test_an_answer_that_is_late_is_504_and_says_where_it_will_be() -> None:
    gateway = make(gateway_max_wait_s=0.1)
    answer = await post(gateway, "/agent", {"prompt": "?"})
    [job] = jobs(gateway)
    assert answer.status_code == 504
    assert job.job_id in answer.json()["detail"]
    assert answer.headers["location"] == f"/v1/runs/{job.job_id}"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/agent", b"{", 400),
        ("/agent", b"{}", 422),
        ("/agent", b'{"prompt": ""}', 422),
        ("/agent", b'{"prompt": 5}', 422),
        ("/agents/run", b'{"agent_type": "policy-checker"}', 422),
        ("/agents/run", b'{"agent_type": "policy-checker", "user_id": 5}', 422),
        ("/agents/run", b"[]", 422),
    ],
)
async def test_refusals_have_a_detail(gateway: Gateway, path: str, body: bytes, status: int) -> None:
    answer = await gateway.post(path, body, JSON)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    assert jobs(gateway) == []


async def test_another_content_type_is_415(gateway: Gateway) -> None:
    assert (await gateway.post("/agent", b"{}", {"content-type": "text/plain"})).status_code == 415


async def test_a_run_is_started_and_told_from_state_to_state(gateway: Gateway) -> None:
    answer = await post(gateway, "/agents/run", RUN)
    [job] = jobs(gateway)
    assert (answer.status_code, answer.json()) == (202, {"run_id": job.job_id})
    assert (job.agent, job.user_id, job.input) == ("policy-checker", USER, {"user_id": USER})
    assert gateway.turns.published_runs == [job.job_id]

    async def status() -> Any:
        shown = (await gateway.get(f"/agents/status/{job.job_id}")).json()
        assert set(shown) == {"run_id", "agent_type", "user_id", "state", "result", "error"}
        return shown

    assert (await status())["state"] == "PENDING"
    gateway.turns.begun_runs.add(job.job_id)
    assert (await status())["state"] == "RUNNING", "it is taken, and not indexed yet"
    gateway.turns.begun_runs.clear()
    gateway.index.rows[job.job_id] = {"run_id": job.job_id, "state": "running", "agent_name": job.agent}
    assert (await status())["state"] == "RUNNING"
    gateway.index.end(job.job_id, job.agent, output={"decision": "approved"})
    shown = await status()
    assert (shown["state"], shown["result"], shown["error"]) == ("DONE", {"decision": "approved"}, None)
    gateway.index.end(job.job_id, job.agent, error={"type": "timeout", "message": "m"})
    shown = await status()
    assert (shown["state"], shown["result"], shown["error"]) == ("ERROR", None, {"type": "timeout", "message": "m"})


async def test_another_gateway_knows_a_run_that_is_not_indexed_yet(gateway: Gateway) -> None:
    other = make()
    other.turns.held = gateway.turns.held
    run_id = (await post(gateway, "/agents/run", RUN)).json()["run_id"]
    shown = (await other.get(f"/agents/status/{run_id}")).json()
    assert (shown["state"], shown["agent_type"]) == ("PENDING", "policy-checker")
    unknown = await other.get("/agents/status/none")
    assert (unknown.status_code, set(unknown.json())) == (404, {"detail"})


async def test_while_one_runs_another_is_409(gateway: Gateway) -> None:
    await post(gateway, "/agents/run", RUN)
    busy = await post(gateway, "/agents/run", RUN)
    assert (busy.status_code, busy.json()) == (409, {"detail": "An agent is already running, please retry later"})
    assert (await post(gateway, "/agents/run", RUN | {"agent_type": "document-extractor"})).status_code == 202
    assert len(jobs(gateway)) == 2


async def test_how_many_may_run_is_a_setting_for_all_and_for_one() -> None:
    gateway = make(gateway_agent_runs=2, gateway_agent_runs_of={"policy-checker": 3})
    extract = RUN | {"agent_type": "document-extractor"}
    answers = [await post(gateway, "/agents/run", body) for body in (RUN, RUN, RUN, RUN, extract, extract, extract)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 409, 202, 202, 409]
    assert gateway.turns.taken[0] == ("policy-checker", 3, 180.0), "the agent's own time-out, and a minute"


async def test_an_agent_that_is_none_is_400_and_takes_no_turn(gateway: Gateway) -> None:
    with capture_logs() as lines:
        answer = await post(gateway, "/agents/run", RUN | {"agent_type": "planted"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "Unsupported agent_type"})
    assert "Unsupported agent_type" in [line["event"] for line in lines]
    assert "planted" not in str(lines)
    assert gateway.turns.held == {}


async def test_the_log_line_of_a_start_has_the_keys(gateway: Gateway) -> None:
    with capture_logs() as lines:
        run_id = (await post(gateway, "/agents/run", RUN)).json()["run_id"]
    [line] = [line for line in lines if line.get("run_id") == run_id]
    assert (line["agent_type"], line["user_id"]) == ("policy-checker", USER)


async def test_what_is_not_durable_is_503(gateway: Gateway) -> None:
    gateway.publisher.fail = DependencyUnavailable("away")
    answer = await post(gateway, "/agents/run", RUN)
    assert (answer.status_code, set(answer.json()), "retry-after" in answer.headers) == (503, {"detail"}, True)
    assert gateway.turns.published_runs == []


async def test_a_database_that_goes_away_after_the_job_is_durable_changes_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise DependencyUnavailable("away")

    monkeypatch.setattr(gateway.turns, "published", away)
    assert (await post(gateway, "/agents/run", RUN)).status_code == 202
