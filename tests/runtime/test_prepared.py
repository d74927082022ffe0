"""A processor that prepares its jobs for many at once, on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from headrace.messages.base import Message
from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.messages.job import Job
from headrace.runtime.api import Context, Send
from headrace.settings import MeshSettings
from tests.runtime.kafka import produce, read_all
from tests.runtime.relay import job
from tests.runtime.running import running, until

JOBS = [job(number, f"key-{number % 4}") for number in range(40)]


class Preparing:
    """Hands each job on with what was prepared for it. ``refuse`` says how often the first questions fail."""

    PREPARES: ClassVar[tuple[str, ...]] = ("agent.jobs",)

    def __init__(self, *, fail: int = 0, bad: str = "", slow: bool = False) -> None:
        self.asked: list[int] = []
        self.handled: list[tuple[str, Any]] = []
        self._fail, self._bad, self._slow = fail, bad, slow

    async def prepare(self, inputs: Sequence[tuple[Message, Context]]) -> Sequence[Any]:
        self.asked.append(len(inputs))
        if self._slow:
            await asyncio.sleep(0.3)
        if self._fail:
            self._fail -= 1
            raise DependencyUnavailable("away")
        return [self._answer(message) for message, _ in inputs]

    def _answer(self, message: Message) -> Any:
        assert isinstance(message, Job)
        return BadMessage("not this one", cause="planted") if message.job_id == self._bad else f"for {message.job_id}"

    async def handle(self, message: Message, context: Context, prepared: Any) -> Sequence[Send]:
        assert isinstance(message, Job)
        self.handled.append((message.job_id, prepared))
        return [Send(message, topic="relayed")]


async def worked_through(settings: MeshSettings, processor: Preparing) -> None:
    produce(settings, "agent.jobs", JOBS)
    async with running(settings, processor) as worker:
        await until(lambda: worker.status()["finished"] == len(JOBS), 30)


async def test_each_job_is_handled_once_in_order_with_what_was_prepared_for_it(settings: MeshSettings) -> None:
    processor = Preparing()
    await worked_through(settings, processor)
    assert sorted(processor.handled) == sorted((f"job-{n}", f"for job-{n}") for n in range(40))
    for key in range(4):
        names = [name for name, _ in processor.handled if int(name.removeprefix("job-")) % 4 == key]
        assert names == [f"job-{n}" for n in range(key, 40, 4)]
    assert len(processor.asked) < len(JOBS), "asked for many at once"
    assert sum(processor.asked) == len(JOBS), "and once for each"
    assert len(read_all(settings, "relayed")) == len(JOBS)


async def test_a_turn_that_comes_before_the_answer_waits_for_it(settings: MeshSettings) -> None:
    processor = Preparing(slow=True)
    await worked_through(settings, processor)
    assert all(prepared == f"for {name}" for name, prepared in processor.handled)
    assert len(processor.handled) == len(JOBS)


async def test_a_question_that_failed_is_asked_again(settings: MeshSettings) -> None:
    processor = Preparing(fail=3)
    await worked_through(settings, processor)
    assert all(prepared == f"for {name}" for name, prepared in processor.handled)
    assert len(read_all(settings, "relayed")) == len(JOBS)


async def test_the_error_of_one_is_its_own(settings: MeshSettings) -> None:
    processor = Preparing(bad="job-7")
    await worked_through(settings, processor)
    assert {name for name, _ in processor.handled} == {f"job-{n}" for n in range(40)} - {"job-7"}
    (letter,) = read_all(settings, "relay.dlq")
    assert letter.headers["dlq_cause"] == "planted"
