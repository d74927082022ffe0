"""The processor: one record of calls in, one record of outcomes out, and what is the model's to know of failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
import pytest
from structlog.testing import capture_logs

from headrace.blobs.memory import MemoryBlobs
from headrace.blobs.tenants import TenantBlobs
from headrace.messages import ids
from headrace.messages.errors import DependencyUnavailable, RejectedMessage, TransientError
from headrace.messages.run import ToolCalls, ToolOutcome, ToolResults
from headrace.runtime.api import Send
from headrace.tools.api import ToolContext, ToolFailure
from headrace.tools.processor import ToolsProcessor
from headrace.tools.registry import ToolRegistry
from headrace.tools.settings import ToolsSettings
from tests.tools.helpers import Definitions, FakeTool, call, calls, context, definition


async def echo(arguments: dict[str, Any], context: ToolContext) -> Any:
    return {
        "arguments": arguments,
        "key": context.idempotency_key,
        "domains": list(context.domains),
        "tenant": context.tenant,
    }


async def broken(arguments: dict[str, Any], context: ToolContext) -> Any:
    raise ToolFailure("http_status", "no luck " + "x" * 5_000, retryable=True, step="http_request")


async def crash(arguments: dict[str, Any], context: ToolContext) -> Any:
    raise KeyError("s3cret")


async def away(arguments: dict[str, Any], context: ToolContext) -> Any:
    raise DependencyUnavailable("store is away")


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class AwayBlobs(MemoryBlobs):
    async def put(self, data: bytes) -> str:
        raise DependencyUnavailable("store is away")

    async def get(self, ref: str) -> bytes:
        raise DependencyUnavailable("store is away")


class Bench:
    def __init__(
        self, *more: FakeTool, blobs: MemoryBlobs | None = None, settings: dict[str, Any] | None = None, **granted: Any
    ) -> None:
        self.blobs = blobs or MemoryBlobs()
        self.now, self.timer = Clock(), Clock()
        tools = [
            FakeTool("echo", echo),
            FakeTool("broken", broken),
            FakeTool("crash", crash),
            FakeTool("away", away),
            *more,
        ]
        self.processor = ToolsProcessor(
            ToolRegistry(tools),
            self.blobs,
            Definitions(definition(**granted)),
            ToolsSettings(_env_file=None, **(settings or {})),
            now=self.now,
            timer=self.timer,
        )

    async def send(self, message: ToolCalls) -> ToolResults:
        sends: Sequence[Send] = await self.processor.handle(message, context())
        assert len(sends) == 1
        assert isinstance(sends[0].message, ToolResults)
        return sends[0].message

    async def outcome(self, tool: str, **changes: Any) -> ToolOutcome:
        return (await self.send(calls(call(tool, **changes)))).results[0]


async def test_the_continuation_passes_through_and_the_calls_are_counted() -> None:
    async def work(arguments: dict[str, Any], context: ToolContext) -> Any:
        bench.timer.time += 0.25

    bench = Bench(FakeTool("slow", work))
    asked = calls(call("slow"), call("echo", "c2"))
    results = await bench.send(asked)
    assert results.run == asked.run
    assert results.transcript == asked.transcript
    assert results.progress == asked.progress.replace(tool_calls=6, tool_ms=300)
    assert results.results[0].duration_ms == 250
    assert (results.message_id(), results.record_key()) == ("run-1:3:results", "run-1")


async def test_a_call_runs_with_its_key_and_its_agents_grants() -> None:
    outcome = await Bench().outcome("echo", arguments={"a": 1})
    assert (outcome.status, outcome.tool_version, outcome.error, outcome.content_ref) == ("ok", "1.2.3", None, None)
    assert outcome.content == {"arguments": {"a": 1}, "key": "key-c1", "domains": ["127.0.0.1"], "tenant": "acme"}


async def test_calls_run_side_by_side_and_outcomes_keep_their_order() -> None:
    everyone, arrived, order = asyncio.Event(), [], []

    async def meet(arguments: dict[str, Any], context: ToolContext) -> Any:
        arrived.append(arguments["n"])
        if len(arrived) == 4:
            everyone.set()
        await everyone.wait()
        await asyncio.sleep((4 - arguments["n"]) / 100)
        order.append(arguments["n"])
        return arguments["n"]

    asked = calls(*(call("slow", f"c{n}", arguments={"n": n}) for n in range(4)))
    results = await asyncio.wait_for(Bench(FakeTool("slow", meet)).send(asked), 5)
    assert [outcome.content for outcome in results.results] == [0, 1, 2, 3]
    assert [outcome.call_id for outcome in results.results] == ["c0", "c1", "c2", "c3"]
    assert order != [0, 1, 2, 3]


async def test_no_more_calls_at_once_than_the_setting_says() -> None:
    running, most = 0, 0

    async def count(arguments: dict[str, Any], context: ToolContext) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    bench = Bench(FakeTool("slow", count), settings={"parallel_calls": 3})
    await bench.send(calls(*(call("slow", f"c{n}") for n in range(10))))
    assert most == 3


@pytest.mark.parametrize("size", [1_024, 1_025])
async def test_large_content_is_a_reference_with_a_preview(size: int) -> None:
    async def give(arguments: dict[str, Any], context: ToolContext) -> Any:
        return "x" * (size - 2)

    bench = Bench(FakeTool("huge", give))
    outcome = await bench.outcome("huge")
    if size == 1_024:
        assert (outcome.content, outcome.content_ref) == ("x" * 1_022, None)
    else:
        assert outcome.content is None
        assert outcome.preview == "x" * 200 + "..."
        assert await TenantBlobs(bench.blobs, "acme").get(outcome.content_ref or "") == orjson.dumps("x" * 1_023)


async def test_stored_arguments_are_fetched() -> None:
    bench = Bench()
    ref = await bench.blobs.put(b'{"large": true}')
    assert (await bench.outcome("echo", arguments_ref=ref)).content["arguments"] == {"large": True}


@pytest.mark.parametrize(
    ("data", "type_"), [(b"[1]", "invalid_arguments"), (b"{", "arguments_unavailable"), (None, "arguments_unavailable")]
)
async def test_stored_arguments_that_are_of_no_use(data: bytes | None, type_: str) -> None:
    bench = Bench()
    ref = ids.content_ref(b"never stored") if data is None else await bench.blobs.put(data)
    outcome = await bench.outcome("echo", arguments_ref=ref)
    assert outcome.error is not None
    assert outcome.error.type == type_


async def test_a_failure_of_the_tool_is_the_models_to_read() -> None:
    outcome = await Bench().outcome("broken")
    assert (outcome.status, outcome.content) == ("error", None)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.retryable, outcome.error.step) == ("http_status", True, "http_request")
    assert len(outcome.error.message) < 1_100


async def test_one_failed_call_leaves_the_others_alone() -> None:
    results = await Bench().send(calls(call("broken", "c1"), call("echo", "c2"), call("nope", "c3")))
    assert [outcome.status for outcome in results.results] == ["error", "ok", "error"]
    assert results.results[2].error is not None
    assert (results.results[2].error.type, results.results[2].tool_version) == ("unknown_tool", "1.0.0")


async def test_a_tool_that_the_definition_does_not_grant() -> None:
    outcome = await Bench(tools=("broken",)).outcome("echo")
    assert outcome.error is not None
    assert outcome.error.type == "not_allowed"


async def test_a_crash_is_an_error_without_details() -> None:
    with capture_logs() as logs:
        outcome = await Bench().outcome("crash")
    assert outcome.error is not None
    assert outcome.error.type == "internal_error"
    assert "s3cret" not in msgspec.json.encode(outcome).decode() + str(logs)
    assert [entry["error_type"] for entry in logs if entry["event"] == "tool_crashed"] == ["KeyError"]


async def test_a_dependency_that_is_away_is_raised_and_the_other_calls_end() -> None:
    ended = asyncio.Event()

    async def wait(arguments: dict[str, Any], context: ToolContext) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(DependencyUnavailable):
        await Bench(FakeTool("slow", wait)).send(calls(call("slow", "c1"), call("away", "c2")))
    assert ended.is_set()


async def test_a_blob_store_that_is_away_is_raised() -> None:
    async def give(arguments: dict[str, Any], context: ToolContext) -> Any:
        return "x" * 5_000

    bench = Bench(FakeTool("huge", give), blobs=AwayBlobs())
    for asked in (call("huge"), call("echo", arguments_ref=ids.content_ref(b"{}"))):
        with pytest.raises(DependencyUnavailable):
            await bench.send(calls(asked))


async def test_the_deadline_of_the_run_holds() -> None:
    ran = False

    async def mark(arguments: dict[str, Any], context: ToolContext) -> Any:
        nonlocal ran
        ran = True

    bench = Bench(FakeTool("slow", mark))
    bench.now.time = 60.0
    outcome = await bench.outcome("slow")
    assert outcome.error is not None
    assert (outcome.error.type, ran) == ("deadline", False)
    bench.now.time = 59.9
    assert (await bench.outcome("slow")).status == "ok"


async def test_a_definition_that_is_not_here_yet_is_tried_again() -> None:
    with pytest.raises(TransientError, match=r"triager@1\.0\.0"):
        await Bench(version="2.0.0").send(calls(call("echo")))


async def test_another_message_is_rejected() -> None:
    bench = Bench()
    results = await bench.send(calls(call("echo")))
    with pytest.raises(RejectedMessage):
        await bench.processor.handle(results, context())


async def test_the_same_record_gives_the_same_results() -> None:
    asked = calls(call("echo"), call("broken", "c2"), call("nope", "c3"))
    first, second = await Bench().send(asked), await Bench().send(asked)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


async def test_cancelling_leaves_nothing_running() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(arguments: dict[str, Any], context: ToolContext) -> Any:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(Bench(FakeTool("slow", wait)).send(calls(call("slow"))))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
