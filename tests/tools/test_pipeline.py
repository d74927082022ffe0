"""``execute_pipeline`` as a whole: plans, a real HTTP server, references in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.tenants import TenantBlobs
from headrace.egress import EgressPolicy, GuardedClient
from headrace.egress.policy import PrivateTargets
from headrace.messages import ids
from headrace.messages.errors import DependencyUnavailable
from headrace.tools.api import ToolFailure
from headrace.tools.pipeline.executor import ExecutePipeline, PipelineLimits
from headrace.tools.pipeline.fetch import http_request
from headrace.tools.pipeline.jq.pool import JqPool
from headrace.tools.pipeline.plan import PRIMITIVES
from headrace.toolspecs.execute_pipeline import STEPS
from tests.tools.helpers import CONTEXT, granted
from tests.tools.servers import Seen, Server, response, serving

FLIGHTS = [
    {"airline": name, "price": price}
    for name, price in [("Delta", 299), ("United", 410), ("JetBlue", 250), ("Spirit", 99)]
]


async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
    answers = {
        "/flights": (200, orjson.dumps({"flights": FLIGHTS, "count": 4})),
        "/echo": (200, orjson.dumps({"method": seen.method, "query": seen.query, "body": seen.body.decode()})),
        "/many": (200, orjson.dumps([{"n": n, "group": n % 7, "text": "x" * 20} for n in range(5_000)])),
        "/empty": (204, b""),
        "/broken": (200, b'{"a": 1, "a": 2}'),
        "/html": (200, b"<html>"),
        "/busy": (503, b"s3cret"),
        "/missing": (404, b"s3cret"),
    }
    status, body = answers[seen.path]
    writer.write(response(status, body))


class Bench:
    """The tool, wired to a local server and blobs in memory."""

    def __init__(
        self, server: Server, client: GuardedClient, blobs: MemoryBlobs, jq: JqPool, limits: PipelineLimits
    ) -> None:
        self.server, self.blobs = server, blobs
        self.tool = ExecutePipeline(client, blobs, jq, limits)

    async def run(self, *pipeline: dict[str, Any], input_ref: str | None = None, **grants: Any) -> Any:
        arguments = {"session_id": "s", "pipeline": list(pipeline)} | ({"input_ref": input_ref} if input_ref else {})
        return (await self.tool.run(arguments, granted(**grants))).content

    async def failure(self, *pipeline: dict[str, Any], **options: Any) -> ToolFailure:
        with pytest.raises(ToolFailure) as caught:
            await self.run(*pipeline, **options)
        assert "s3cret" not in str(caught.value)
        return caught.value

    def fetch(self, path: str, **more: Any) -> dict[str, Any]:
        return {"step": "http_request", "url": self.server.url + path} | more

    async def store(self, document: Any) -> str:
        return await TenantBlobs(self.blobs, "default").put(orjson.dumps(document))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving(script) as server:
        policy = EgressPolicy(timeout_s=30, private=PrivateTargets.parse([server.target]))
        async with GuardedClient(policy) as client, JqPool(size=1) as jq:
            yield Bench(server, client, MemoryBlobs(), jq, PipelineLimits(max_rows=6_000))


async def test_fetch_sort_and_cut(bench: Bench) -> None:
    result = await bench.run(
        bench.fetch("/flights", params={"origin": "NYC", "dest": "LAX"}),
        {"step": "table_sort", "field": "price", "order": "asc"},
        {"step": "top_k", "k": 3},
    )
    rows = [FLIGHTS[3], FLIGHTS[2], FLIGHTS[0]]
    assert result == {"type": "dataset", "row_count": 3, "rows": rows, "result_ref": await bench.store(rows)}
    assert bench.server.requests[0].query == {"origin": ["NYC"], "dest": ["LAX"]}


async def test_every_step_in_one_pipeline(bench: Bench) -> None:
    result = await bench.run(
        bench.fetch("/many"),
        {"step": "table_filter", "condition": {"field": "n", "op": "<", "value": 70}},
        {"step": "groupby", "by": ["group"], "agg": "sum", "field": "n"},
        {"step": "table_sort", "field": "sum", "order": "desc"},
        {"step": "top_k", "k": 2},
        {"step": "table_select", "fields": ["group"]},
    )
    assert result["rows"] == [{"group": 6}, {"group": 5}]


async def test_join_of_two_references_and_of_the_rows_so_far(bench: Bench) -> None:
    left, right = await bench.store([{"id": 1, "a": 1}, {"id": 2, "a": 2}]), await bench.store([{"id": 2, "b": 3}])
    step = {"step": "join", "on": "id", "left": left, "right": right}
    assert (await bench.run(step))["rows"] == [{"id": 2, "a": 2, "b": 3}]
    so_far = {"step": "join", "on": "id", "right": right}
    assert (await bench.run({"step": "top_k", "k": 2}, so_far, input_ref=left))["rows"] == [{"id": 2, "a": 2, "b": 3}]
    assert (await bench.run({"step": "top_k", "k": 1}, so_far, input_ref=left))["rows"] == []
    lost = await bench.failure({"step": "join", "on": "id", "left": left, "right": ids.content_ref(b"never stored")})
    assert (lost.type, lost.step) == ("invalid_arguments", "join")
    assert "right" in str(lost)


async def test_jq_sees_the_document_as_it_came_and_rows_later(bench: Bench) -> None:
    query = {"step": "jq_transform", "query": ".flights | length"}
    assert (await bench.run(bench.fetch("/flights"), query))["rows"] == [{"value": 4}]
    ref = await bench.store({"flights": FLIGHTS, "count": 4})
    assert (await bench.run(query, input_ref=ref))["rows"] == [{"value": 4}]
    later = {"step": "jq_transform", "query": "map(.price) | add"}
    assert (await bench.run({"step": "top_k", "k": 2}, later, input_ref=ref))["rows"] == [{"value": 709}]
    failure = await bench.failure(bench.fetch("/flights"), {"step": "jq_transform", "query": ".["})
    assert (failure.type, failure.step) == ("invalid_arguments", "jq_transform")
    assert str(failure).startswith("pipeline[1] jq_transform: the program failed: ")


async def test_extract_and_dates_in_a_pipeline(bench: Bench) -> None:
    ref = await bench.store([{"line": "job 17 ended", "at": "12 Oct 2024"}, {"line": "no", "at": None}])
    result = await bench.run(
        {"step": "regex_extract", "field": "line", "pattern": r"job (?P<job>\d+)"},
        {"step": "parse_date", "field": "at", "format": "%d %b %Y"},
        {"step": "table_select", "fields": ["job", "at"]},
        input_ref=ref,
    )
    assert result["rows"] == [{"job": "17", "at": "2024-10-12"}, {"job": None, "at": None}]


async def test_a_small_result_can_be_taken_further_too(bench: Bench) -> None:
    first = await bench.run(bench.fetch("/flights"))
    condition = {"field": "price", "op": "<", "value": 200}
    again = await bench.run({"step": "table_filter", "condition": condition}, input_ref=first["result_ref"])
    assert again["rows"] == [FLIGHTS[3]]


async def test_a_large_result_is_a_sample_and_a_reference(bench: Bench) -> None:
    result = await bench.run(bench.fetch("/many"), {"step": "table_select", "fields": ["n"]})
    assert result.keys() == {"type", "row_count", "sample", "result_ref"}
    assert (result["type"], result["row_count"], result["sample"]) == ("dataset", 5_000, [{"n": n} for n in range(5)])
    assert orjson.loads(await bench.blobs.get(result["result_ref"])) == [{"n": n} for n in range(5_000)]
    again = await bench.run({"step": "groupby", "by": [], "agg": "max", "field": "n"}, input_ref=result["result_ref"])
    assert again["rows"] == [{"max": 4_999}]


@pytest.mark.parametrize("size", [10, 500, 100_000])
async def test_a_result_is_small_however_large_its_rows(bench: Bench, size: int) -> None:
    ref = await bench.store([{"k" * size: "v" * size, "list": list(range(size))} for _ in range(3)])
    result = await bench.run({"step": "top_k", "k": 3}, input_ref=ref)
    assert len(orjson.dumps(result)) <= 2_048
    assert ("rows" in result) == (size == 10)


async def test_post_sends_params_as_json_with_the_idempotency_key(bench: Bench) -> None:
    result = await bench.run(bench.fetch("/echo", method="POST", params={"a": {"deep": [1]}}))
    seen = bench.server.requests[0]
    assert seen.json == {"a": {"deep": [1]}}
    assert seen.headers["idempotency-key"] == CONTEXT.idempotency_key
    assert result["rows"][0]["query"] == {}


async def test_get_carries_no_idempotency_key(bench: Bench) -> None:
    await bench.run(bench.fetch("/flights", params={"a": None, "b": [1, 2]}))
    assert "idempotency-key" not in bench.server.requests[0].headers
    assert bench.server.requests[0].query == {"b": ["1", "2"]}


async def test_an_empty_answer_is_no_row(bench: Bench) -> None:
    assert (await bench.run(bench.fetch("/empty")))["rows"] == []


def test_a_url_without_scheme_is_https() -> None:
    assert http_request({"url": "api.flights.com/search"}).url == "https://api.flights.com/search"
    assert http_request({"url": "http://api.flights.com"}).url == "http://api.flights.com"


@pytest.mark.parametrize(
    ("path", "type_", "retryable"),
    [
        ("/busy", "http_status", True),
        ("/missing", "http_status", False),
        ("/broken", "bad_json", False),
        ("/html", "bad_json", False),
    ],
)
async def test_a_bad_answer(bench: Bench, path: str, type_: str, retryable: bool) -> None:
    failure = await bench.failure(bench.fetch(path, params={"key": "s3cret"}))
    assert (failure.type, failure.retryable, failure.step) == (type_, retryable, "http_request")
    assert str(failure).startswith("pipeline[0] http_request: ")


async def test_a_domain_that_the_agent_may_not_call(bench: Bench) -> None:
    failure = await bench.failure(bench.fetch("/flights?key=s3cret"), domains=("api.example.test",))
    assert (failure.type, failure.retryable) == ("egress_denied", False)
    assert bench.server.requests == []


@pytest.mark.parametrize(
    ("pipeline", "step", "text"),
    [
        ([{"step": "join", "on": "id"}], "join", "needs left or right"),
        ([{"step": "join", "on": "id", "left": "cas://x", "right": "cas://y"}], "join", "must be the first step"),
        ([{"step": "jq_transform"}], "jq_transform", "needs query"),
        ([{"step": "regex_extract", "field": "a", "pattern": "("}], "regex_extract", "not valid for RE2"),
        ([{"step": "parse_date", "field": "a", "format": "dd.mm"}], "parse_date", "format must be one of"),
        ([{"step": "table_sort"}], "table_sort", "needs field"),
        ([{"step": "top_k", "k": 3, "field": "price"}], "top_k", "does not take field"),
        ([{"step": "table_sort", "field": "a", "ordr": "desc"}], "table_sort", "does not take ordr"),
        ([{"step": "table_select", "fields": []}], "table_select", "at least one field"),
        ([{"step": "table_filter", "condition": {"field": "a"}}], "table_filter", "condition must be"),
        ([{"step": "groupby", "by": ["a"], "agg": "sum"}], "groupby", "field is required"),
    ],
)
async def test_a_bad_step_is_named_before_anything_is_fetched(
    bench: Bench, pipeline: list[Any], step: str, text: str
) -> None:
    failure = await bench.failure(bench.fetch("/flights"), *pipeline)
    assert (failure.type, failure.step) == ("invalid_arguments", step)
    assert str(failure).startswith(f"pipeline[1] {step}: ")
    assert text in str(failure)
    assert bench.server.requests == []


async def test_rows_must_come_from_somewhere_and_from_one_place(bench: Bench) -> None:
    ref = await bench.store([])
    assert "has no rows" in str(await bench.failure({"step": "top_k", "k": 1}))
    assert "first step" in str(await bench.failure(bench.fetch("/flights"), bench.fetch("/flights")))
    assert "without input_ref" in str(await bench.failure(bench.fetch("/flights"), input_ref=ref))
    assert bench.server.requests == []


async def test_nested_query_params_are_refused(bench: Bench) -> None:
    failure = await bench.failure(bench.fetch("/flights", params={"a": {"b": 1}}))
    assert (failure.type, failure.step) == ("invalid_arguments", "http_request")


async def test_a_step_that_fails_on_the_data_is_named(bench: Bench) -> None:
    failure = await bench.failure(
        bench.fetch("/flights"), {"step": "groupby", "by": [], "agg": "sum", "field": "airline"}
    )
    assert (failure.type, failure.step) == ("invalid_data", "groupby")


@pytest.mark.parametrize(
    "ref", ["artifact://x", "cas://sha256:zz", "/etc/passwd", "http://x", ids.content_ref(b"never stored")]
)
async def test_an_input_that_can_not_be_read(bench: Bench, ref: str) -> None:
    failure = await bench.failure({"step": "top_k", "k": 1}, input_ref=ref)
    assert (failure.type, failure.step) == ("invalid_arguments", None)
    assert "input_ref" in str(failure)


async def test_what_another_tenant_stored_looks_like_nothing(bench: Bench) -> None:
    ref = await TenantBlobs(bench.blobs, "other").put(b'[{"n": 1}]')
    failure = await bench.failure({"step": "top_k", "k": 1}, input_ref=ref)
    missing = await bench.failure({"step": "top_k", "k": 1}, input_ref=ids.content_ref(b"never stored"))
    assert (failure.type, str(failure)) == (missing.type, str(missing))
    for side in ("left", "right"):
        join = {"step": "join", "on": "n", side: ref}
        caught = await bench.failure(join, input_ref=await bench.store([{"n": 1}]))
        assert (caught.type, caught.step) == ("invalid_arguments", "join")
    await TenantBlobs(bench.blobs, "default").grant(ref)
    assert (await bench.run({"step": "top_k", "k": 1}, input_ref=ref))["rows"] == [{"n": 1}]


async def test_too_many_rows(bench: Bench) -> None:
    ref = await bench.store([1] * 6_001)
    assert (await bench.failure({"step": "top_k", "k": 1}, input_ref=ref)).type == "too_large"


async def test_a_result_past_its_bound_is_refused(bench: Bench) -> None:
    tool = ExecutePipeline(bench.tool._client, bench.blobs, JqPool(), PipelineLimits(max_result_bytes=10_000))
    with pytest.raises(ToolFailure) as caught:
        await tool.run({"session_id": "s", "pipeline": [bench.fetch("/many")]}, CONTEXT)
    assert caught.value.type == "too_large"


async def test_a_blob_store_that_is_away_is_no_fault_of_the_call(bench: Bench) -> None:
    class Away(MemoryBlobs):
        async def get(self, ref: str) -> bytes:
            raise DependencyUnavailable("away")

        async def put(self, data: bytes) -> str:
            raise DependencyUnavailable("away")

    tool = ExecutePipeline(bench.tool._client, Away(), JqPool())
    for arguments in (
        {"session_id": "s", "pipeline": [{"step": "top_k", "k": 1}], "input_ref": ids.content_ref(b"")},
        {"session_id": "s", "pipeline": [bench.fetch("/many")]},
    ):
        with pytest.raises(DependencyUnavailable):
            await tool.run(arguments, CONTEXT)


def test_the_published_steps_are_the_steps_that_exist() -> None:
    assert tuple(PRIMITIVES) == STEPS
