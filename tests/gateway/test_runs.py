"""``POST /v1/runs`` and reading back: one job per request, idempotency keys, schemas, the state of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.blobs.tenants import TenantBlobs
from headrace.gateway.problems import HttpError
from headrace.gateway.schema_check import InputSchemas
from headrace.messages import ids
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.job import Job
from tests.gateway.support import REVIEWER, Gateway, error_of

JSON = {"content-type": "application/json"}
GOOD: dict[str, Any] = {"agent": "pr-reviewer", "input": {"title": "Fix"}}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def jobs(gateway: Gateway) -> list[Job]:
    return [send.message for send in gateway.publisher.sends if isinstance(send.message, Job)]


async def ask(gateway: Gateway, request: Any, **headers: str) -> Any:
    return await gateway.post("/v1/runs", orjson.dumps(request), JSON | headers)


async def test_a_request_becomes_a_job(gateway: Gateway) -> None:
    request = GOOD | {"session_id": "s-1", "user_id": "u-1", "version": "1.2.0"}
    response = await ask(gateway, request)
    assert response.status_code == 202
    [job] = jobs(gateway)
    assert response.json() == {"run_id": job.job_id, "status_url": f"/v1/runs/{job.job_id}"}
    assert response.headers["location"] == f"/v1/runs/{job.job_id}"
    assert (job.agent, job.agent_version, job.input, job.user_id) == ("pr-reviewer", "1.2.0", {"title": "Fix"}, "u-1")
    assert (job.context.session_id, job.tenant, job.created_at) == ("s-1", "acme", "2026-01-02T03:04:05.678Z")


async def test_a_catalogue_that_is_not_read_yet_is_503(gateway: Gateway) -> None:
    gateway.checks["catalogue"] = False
    answers = [await ask(gateway, GOOD), await gateway.get("/v1/agents"), await gateway.get("/v1/agents/pr-reviewer")]
    assert [answer.status_code for answer in answers] == [503, 503, 503]


async def test_a_prompt_needs_no_schema(gateway: Gateway) -> None:
    response = await ask(gateway, {"agent": "pr-reviewer", "prompt": "Look"})
    assert response.status_code == 202
    assert jobs(gateway)[0].prompt == "Look"


async def test_two_requests_without_a_key_are_two_runs(gateway: Gateway) -> None:
    first, second = await ask(gateway, GOOD), await ask(gateway, GOOD)
    assert first.json()["run_id"] != second.json()["run_id"]


@pytest.mark.parametrize(
    ("request_", "status", "code", "where"),
    [
        ({"agent": "nobody", "input": {}}, 400, "unknown_agent", "/agent"),
        (GOOD | {"version": "9.9.9"}, 400, "unknown_agent", "/version"),
        ({"agent": "pr-reviewer", "input": {}}, 422, "input_schema", "/input"),
        ({"agent": "pr-reviewer", "input": {"title": 5}}, 422, "input_schema", "/input/title"),
        (
            {"agent": "pr-reviewer", "input": {"title": "t", "files": [1, "planted"]}},
            422,
            "input_schema",
            "/input/files/1",
        ),
        ({"agent": "pr-reviewer"}, 422, "request_schema", "/input"),
        (GOOD | {"prompt": "both"}, 422, "request_schema", "/input"),
        (GOOD | {"unknown": 1}, 422, "request_schema", "/unknown"),
        ({"input": 1}, 422, "request_schema", "/agent"),
        ([], 422, "request_schema", "/"),
    ],
)
async def test_refusals_name_the_place(gateway: Gateway, request_: Any, status: int, code: str, where: str) -> None:
    response = await ask(gateway, request_)
    assert response.status_code == status
    error = error_of(response)
    assert (error["code"], error["where"]) == (code, where)
    assert "planted" not in response.text
    assert jobs(gateway) == []


async def test_an_unknown_agent_is_named(gateway: Gateway) -> None:
    assert "'nobody'" in error_of(await ask(gateway, {"agent": "nobody", "input": {}}))["message"]


@pytest.mark.parametrize("body", [b"{", b'{"agent":"a","agent":"b"}', b"[" * 100_000])
async def test_broken_json_is_400(gateway: Gateway, body: bytes) -> None:
    assert (await gateway.post("/v1/runs", body, JSON)).status_code == 400


async def test_a_schema_that_refers_elsewhere_fetches_nothing(tmp_path: Path) -> None:
    readable = tmp_path / "any.json"
    readable.write_text("{}")
    for uri in ("http://127.0.0.1:9/x.json", readable.as_uri()):
        definition = REVIEWER.replace(input_schema={"$ref": uri})
        with pytest.raises(HttpError) as caught:
            InputSchemas().check(definition, {})
        assert caught.value.status == 500


async def test_schemas_are_compiled_once_and_kept_within_a_bound() -> None:
    schemas = InputSchemas(kept=2)
    for number in range(5):
        definition = REVIEWER.replace(version=f"1.0.{number}")
        schemas.check(definition, {"title": "x"})
        schemas.check(definition, {"title": "x"})
    assert len(schemas._compiled) == 2


async def test_the_same_key_is_the_same_run(gateway: Gateway) -> None:
    keyed = GOOD | {"idempotency_key": "k-1"}
    first = await ask(gateway, keyed)
    respaced = await gateway.post("/v1/runs", orjson.dumps(keyed, option=orjson.OPT_INDENT_2), JSON)
    by_header = await ask(gateway, GOOD, **{"idempotency-key": '"k-1"'})
    run_id = ids.requested_job_id("acme", "pr-reviewer", "k-1")
    assert [r.status_code for r in (first, respaced, by_header)] == [202, 202, 202]
    assert {r.json()["run_id"] for r in (first, respaced, by_header)} == {run_id}
    assert {job.job_id for job in jobs(gateway)} == {run_id}


async def test_a_run_that_is_indexed_is_not_published_again(gateway: Gateway) -> None:
    keyed = GOOD | {"idempotency_key": "k-1"}
    run_id = (await ask(gateway, keyed)).json()["run_id"]
    gateway.index.rows[run_id] = {"run_id": run_id, "state": "running", "agent_name": "pr-reviewer"}
    assert (await ask(gateway, keyed)).json()["run_id"] == run_id
    assert len(jobs(gateway)) == 1


async def test_a_key_whose_first_publish_failed_can_be_used_again(gateway: Gateway) -> None:
    keyed = GOOD | {"idempotency_key": "k-1"}
    gateway.publisher.fail = DependencyUnavailable("away")
    assert (await ask(gateway, keyed)).status_code == 503
    gateway.publisher.fail = None
    assert (await ask(gateway, keyed)).status_code == 202
    assert len(jobs(gateway)) == 1


async def test_the_same_key_for_another_request_is_409(gateway: Gateway) -> None:
    await ask(gateway, GOOD | {"idempotency_key": "k-1"})
    other = await ask(gateway, {"agent": "pr-reviewer", "input": {"title": "Other"}, "idempotency_key": "k-1"})
    assert other.status_code == 409
    assert error_of(other)["code"] == "idempotency_key_reused"
    assert len(jobs(gateway)) == 1


@pytest.mark.parametrize(("header", "field"), [("a", "b"), ("", None), ("\xe9", None), ("x" * 257, None), (None, "")])
async def test_keys_that_are_none(gateway: Gateway, header: str | None, field: str | None) -> None:
    headers: dict[str, Any] = {} if header is None else {"idempotency-key": header.encode("latin-1")}
    response = await ask(gateway, GOOD | ({} if field is None else {"idempotency_key": field}), **headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == "idempotency_key"


async def test_kafka_away_is_503(gateway: Gateway) -> None:
    gateway.publisher.fail = DependencyUnavailable("planted")
    response = await ask(gateway, GOOD)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "planted" not in response.text


async def test_the_database_away_stops_only_what_needs_it(gateway: Gateway) -> None:
    accepted = (await ask(gateway, GOOD | {"idempotency_key": "k"})).json()["run_id"]
    gateway.index.away = True
    assert (await ask(gateway, GOOD)).status_code == 202
    keyed = await ask(gateway, GOOD | {"idempotency_key": "k"})
    one, many = await gateway.get(f"/v1/runs/{accepted}"), await gateway.get("/v1/runs")
    for response in (keyed, one, many):
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert "planted" not in response.text


async def test_a_run_is_accepted_then_what_the_index_says(gateway: Gateway) -> None:
    run_id = (await ask(gateway, GOOD)).json()["run_id"]
    early = await gateway.get(f"/v1/runs/{run_id}")
    assert early.json() == {"run_id": run_id, "agent_name": "pr-reviewer", "state": "accepted"}
    gateway.index.rows[run_id] = {"run_id": run_id, "agent_name": "pr-reviewer", "state": "completed"}
    assert (await gateway.get(f"/v1/runs/{run_id}")).json()["state"] == "completed"


async def test_an_unknown_run_is_404(gateway: Gateway) -> None:
    for path in ("/v1/runs/nope", "/v1/runs/nope/events"):
        response = await gateway.get(path)
        assert response.status_code == 404
        assert error_of(response)["code"] == "unknown_run"


async def test_runs_are_listed_in_pages(gateway: Gateway) -> None:
    for number in range(5):
        state = "failed" if number == 2 else "completed"
        gateway.index.rows[str(number)] = {"run_id": str(number), "agent_name": "a", "state": state}
    first = (await gateway.get("/v1/runs?state=completed&agent=a&limit=3")).json()
    second = (await gateway.get(f"/v1/runs?state=completed&agent=a&limit=3&cursor={first['cursor']}")).json()
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ["0", "1", "3", "4"]
    assert second["cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "state=planted"])
async def test_bad_queries_are_422(gateway: Gateway, query: str) -> None:
    response = await gateway.get(f"/v1/runs?{query}")
    assert response.status_code == 422
    assert "planted" not in error_of(response)["message"]


async def test_results_by_reference(gateway: Gateway) -> None:
    gateway.index.results["r-1"] = {"result_id": "r-1", "output": {"risk": "low"}}
    own = TenantBlobs(gateway.blobs, gateway.deps.tenant)
    ref = await own.put(b'{"big": 1}')
    binary = await own.put(b"<script>\x00\xff")
    hex_ = ref.removeprefix("cas://")
    for path in ("r-1", "artifact://r-1", "artifact%3A%2F%2Fr-1"):
        assert (await gateway.get(f"/v1/results/{path}")).json()["output"] == {"risk": "low"}
    for path in (hex_, f"cas:{hex_}", ref):
        response = await gateway.get(f"/v1/results/{path}")
        assert response.content == b'{"big": 1}'
        assert response.headers["content-type"] == "application/json"
    plain = await gateway.get(f"/v1/results/{binary.removeprefix('cas://')}")
    assert plain.headers["content-type"] == "application/octet-stream"
    assert plain.headers["x-content-type-options"] == "nosniff"


async def test_what_another_tenant_stored_is_as_what_is_not_there(gateway: Gateway) -> None:
    theirs = await TenantBlobs(gateway.blobs, "another").put(b'{"salary": 1}')
    ungranted = await gateway.blobs.put(b"a segment of somebody's conversation")
    nothing = "cas://sha256:" + "0" * 64
    answers = [await gateway.get(f"/v1/results/{ref.removeprefix('cas://')}") for ref in (theirs, ungranted, nothing)]
    assert {answer.status_code for answer in answers} == {404}
    told = {answer.text.replace(ref, "REF") for answer, ref in zip(answers, (theirs, ungranted, nothing), strict=True)}
    assert len(told) == 1


@pytest.mark.parametrize(
    ("ref", "status"), [("nope", 404), ("sha256:" + "0" * 64, 404), ("sha256:zz", 400), ("../../etc/passwd", 400)]
)
async def test_references_to_nothing(gateway: Gateway, ref: str, status: int) -> None:
    response = await gateway.get(f"/v1/results/{ref.replace('..', '%2e%2e')}")
    assert response.status_code == status
    error_of(response)


async def test_agents_are_shown_without_their_prompts(gateway: Gateway) -> None:
    listed = await gateway.get("/v1/agents")
    shown = await gateway.get("/v1/agents/pr-reviewer")
    assert [agent["name"] for agent in listed.json()["agents"]] == ["pr-reviewer"]
    assert shown.json()["input_schema"] == REVIEWER.input_schema
    assert shown.json()["versions"] == ["1.2.0"]
    assert "planted" not in listed.text + shown.text
    assert (await gateway.get("/v1/agents/nobody")).status_code == 404
    assert (await gateway.get("/v1/agents/pr-reviewer?version=9.0.0")).status_code == 404
