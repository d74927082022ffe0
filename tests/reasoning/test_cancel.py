"""A run that is cancelled: which of its moments still end it, and as what."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.messages.errors import DependencyUnavailable
from headrace.models import ModelReply, ModelRequest
from tests.reasoning.bench import Bench, ScriptedModel, answered, calls_reply, only_calls, only_result, text_reply

NAME = ("default", "job-1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cancel(bench: Bench, name: tuple[str, str] = NAME) -> None:
    bench.tools.cancelled.add([name], NOW)


class SlowModel(ScriptedModel):
    """Never answers. ``asked`` is set once it was asked, ``ended`` once it was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.ended = asyncio.Event(), False

    async def complete(self, spec: str, request: ModelRequest) -> ModelReply:
        self.asked.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended = True
        raise AssertionError("nobody gave up")


async def test_a_run_that_has_not_begun_asks_no_model() -> None:
    bench = Bench(ScriptedModel())
    cancel(bench)
    result = only_result(await bench.start())
    assert (result.status, result.error and result.error.type, result.steps) == ("failed", "cancelled", 0)
    assert result.error is not None
    assert not result.error.retryable


async def test_a_model_call_under_way_is_given_up() -> None:
    model = SlowModel()
    bench = Bench(model)
    running = asyncio.create_task(bench.start())
    await model.asked.wait()
    cancel(bench, ("other", "job-1"))
    await asyncio.sleep(0)
    assert not model.ended, "another tenant's run of that name"
    cancel(bench)
    result = only_result(await asyncio.wait_for(running, 5))
    assert model.ended
    assert result.error is not None
    assert result.error.type == "cancelled"


async def test_a_run_that_waits_for_tools_ends_when_they_have_answered() -> None:
    bench = Bench(ScriptedModel(calls_reply({"session_id": "s", "pipeline": []})))
    calls = only_calls(await bench.start())
    cancel(bench)
    result = await bench.resume(answered(calls, {"rows": 1}))
    assert result.error.type == "cancelled"
    assert (result.steps, result.usage.model_calls) == (1, 1), "what was spent is told"
    assert [call.tool for call in result.metadata.tool_calls] == ["execute_pipeline"]


class FailingOnce(MemoryBlobs):
    """The first write fails."""

    failed = False

    async def put(self, data: bytes) -> str:
        if not self.failed:
            self.failed = True
            raise DependencyUnavailable("blobs are away")
        return await super().put(data)


async def test_an_answer_that_is_paid_for_is_not_thrown_away() -> None:
    """The blob store failed after the model had answered; the run is cancelled before the next attempt."""
    bench = Bench(ScriptedModel(text_reply("x" * 5_000)), blobs=FailingOnce())
    with pytest.raises(DependencyUnavailable):
        await bench.start()
    cancel(bench)
    assert only_result(await bench.start()).status == "completed"


async def test_a_run_that_was_cancelled_while_it_waited_ends_though_nobody_told_this_reasoner() -> None:
    bench = Bench(ScriptedModel(calls_reply({"session_id": "s", "pipeline": []})))
    calls = only_calls(await bench.start())
    result = await bench.resume(answered(calls, {"rows": 1}).replace(cancelled=True))
    assert result.error.type == "cancelled"
