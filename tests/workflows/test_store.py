"""Workflows and their runs on a real Postgres: versions, owners, conflicts, and events that come twice or at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from headrace.blobs.memory import MemoryBlobs
from headrace.control.cancellations import PostgresCancellations
from headrace.messages.errors import DependencyUnavailable, RejectedMessage
from headrace.messages.job import Job
from headrace.messages.result import AgentResult, ResultError
from headrace.messages.workflow import WorkDone, WorkflowSignal, WorkStart
from headrace.runtime.api import Context, Send, Source
from headrace.workflows.clock import said
from headrace.workflows.definition import WorkflowDefinition
from headrace.workflows.listening import Listening, _refresh, followed
from headrace.workflows.load import load_value
from headrace.workflows.processor import WorkflowProcessor
from headrace.workflows.repository import Change, WorkflowError, WorkflowRepository
from headrace.workflows.runs import WorkflowRuns
from tests.persistence.records import an_event
from tests.postgres.database import empty_pool, pool
from tests.workflows.support import known, task, workflow

__all__ = ["empty_pool", "pool"]

ASSESS = {"type": "agent", "config": {"prompt": {"$expr": "item"}}}
FAN = ([{"id": "m", "type": "map", "config": {"items": "input", "body": ASSESS}}, task("z")], ("m", "z"))


def renamed(tag: str, definition: WorkflowDefinition) -> WorkflowDefinition:
    return load_value({**definition.document(), "tag": tag}, known("other", "main"))


class Desk:
    """A processor with what it stands on, and records with offsets of their own."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.repository, self.runs = WorkflowRepository(pool), WorkflowRuns(pool)
        self.blobs = MemoryBlobs()
        self.listening = Listening()
        self.offset = 0
        self.processor = self.another()

    def another(self) -> WorkflowProcessor:
        """As after a restart: nothing remembered."""
        return WorkflowProcessor(
            self.repository, self.runs, PostgresCancellations(self.pool), self.listening, self.blobs
        )

    async def say(self, message: Any, processor: WorkflowProcessor | None = None, at_ms: int = 2_000_000) -> list[Send]:
        self.offset += 1
        context = Context(Source(message.TOPIC, 0, self.offset), {}, at_ms)
        return list(await (processor or self.processor).handle(message, context))

    async def start(self, tag: str = "main", input_: Any = None, run_id: str = "run-1", **more: Any) -> list[Send]:
        start = WorkStart(tag=tag, input=input_, **more)
        return await self.say(WorkflowSignal(run_id=run_id, id=f"{run_id}:start", kind="start", start=start))


@pytest.fixture
def desk(pool: asyncpg.Pool) -> Desk:
    return Desk(pool)


def answer(job: Job, output: Any = None, **more: Any) -> AgentResult:
    return AgentResult(
        job_id=job.job_id,
        run_id=job.run_id,
        node_id=job.node_id,
        status="failed" if "error" in more else "completed",
        completed_at="2026-01-01T00:00:00Z",
        output=output,
        **more,
    )


def messages(sends: list[Send]) -> list[Any]:
    return [send.message for send in sends]


# --- versions


async def test_versions_never_change_and_a_conflict_stores_nothing(desk: Desk) -> None:
    repository = desk.repository
    first = await repository.create("t", workflow([task("a")]), "sdutt")
    with pytest.raises(WorkflowError) as exists:
        await repository.create("t", workflow([task("b")]), "sdutt")
    assert exists.value.cause == "workflow_exists"
    second = await repository.change(
        "t", "main", "patched", Change(author="sdutt", base_version=1), lambda _: workflow([task("a"), task("b")])
    )
    assert (first.version, second.version) == (1, 2)
    assert first.patch_id != second.patch_id
    for base in (1, 3, None):
        with pytest.raises(WorkflowError) as conflict:
            await repository.change("t", "main", "patched", Change(author="sdutt", base_version=base), lambda old: old)
        assert conflict.value.cause == "version_conflict"
    with pytest.raises(WorkflowError) as foreign:
        await repository.change("t", "main", "patched", Change(author="eve", base_version=2), lambda old: old)
    assert foreign.value.cause == "not_the_owner"
    back = await repository.change(
        "t", "main", "rolled_back", Change(author="sdutt", base_version=2), lambda old: old, from_version=1
    )
    assert (back.version, back.definition) == (3, first.definition)
    assert [one.version for one in await repository.history("t", "main")] == [3, 2, 1]
    assert (await repository.get("t", "main", 1)) == first
    assert await repository.get("other", "main") is None


async def test_of_many_who_change_the_same_version_one_does_and_a_request_that_is_repeated_is_one(desk: Desk) -> None:
    await desk.repository.create("t", workflow([task("a")]), "sdutt")

    async def change(key: str) -> Any:
        wanted = Change(author="sdutt", base_version=1, request_key=key)
        try:
            return await desk.repository.change("t", "main", "patched", wanted, lambda old: old)
        except WorkflowError as error:
            return error.cause

    made = await asyncio.gather(*(change(f"k{number % 4}") for number in range(8)))
    stored = [one for one in made if not isinstance(one, str)]
    assert len(stored) == 2  # the first one, and its own repetition
    assert stored[0] == stored[1]
    assert made.count("version_conflict") == 6


# --- runs


async def test_a_record_that_is_read_again_leads_to_the_same_messages(desk: Desk) -> None:
    await desk.repository.create("default", workflow(*FAN), "sdutt")
    started = await desk.start(input_=["x", "y"])
    jobs = messages(started)
    assert [(job.prompt, job.workflow_tag, job.workflow_owner, job.node_id) for job in jobs] == [
        ("x", "main", "sdutt", "m"),
        ("y", "main", "sdutt", "m"),
    ]
    again = desk.another()
    start = WorkStart(tag="main", input=["x", "y"])
    signal = WorkflowSignal(run_id="run-1", id="run-1:start", kind="start", start=start)
    assert await desk.say(signal, again) == started
    assert await desk.say(answer(jobs[0], 1)) == []
    ended = await desk.say(answer(jobs[1], 2))
    [asked] = messages(ended)
    assert (asked.kind, asked.task.action) == ("task", "z")
    assert await desk.say(answer(jobs[1], 2), again) == ended
    assert await desk.say(answer(jobs[0], 1), again) == []
    done = WorkDone(work_id=asked.task.work_id, output={"sent": True})
    await desk.say(WorkflowSignal(run_id="run-1", id="f-1", kind="finished", done=done))
    run = await desk.runs.get("default", "run-1")
    assert run is not None
    assert (run["status"], run["output"]) == ("completed", {"sent": True})
    assert run["nodes"]["m"]["output"] == [1, 2]


async def test_ends_that_come_at_once_to_several_processes_join_once(desk: Desk) -> None:
    await desk.repository.create("default", workflow(*FAN), "sdutt")
    jobs = messages(await desk.start(input_=[str(number) for number in range(24)]))
    processors = [desk.another() for _ in range(3)]
    said_twice = [job for job in jobs for _ in range(2)]
    sends = await asyncio.gather(
        *(desk.say(answer(job, 1), processors[number % 3]) for number, job in enumerate(said_twice))
    )
    tasks = Counter(message.task.work_id for one in sends for message in messages(one))
    assert len(tasks) == 1  # the record that joined them, and perhaps that one again
    run = await desk.runs.get("default", "run-1")
    assert run is not None
    assert len(run["nodes"]["z"]["work"]) == 1


async def test_a_run_keeps_the_version_that_it_began_with(desk: Desk) -> None:
    await desk.repository.create("default", workflow([task("a"), task("b")], ("a", "b")), "sdutt")
    [asked] = messages(await desk.start())
    change = Change(author="sdutt", base_version=1)
    await desk.repository.change("default", "main", "patched", change, lambda _: workflow([task("q")]))
    done = WorkDone(work_id=asked.task.work_id)
    [following] = messages(await desk.say(WorkflowSignal(run_id="run-1", id="f", kind="finished", done=done)))
    assert following.task.action == "b"
    [other] = messages(await desk.start(run_id="run-2"))
    assert other.task.action == "q"


async def test_a_sub_workflow_answers_the_run_above_and_is_cancelled_with_it(desk: Desk) -> None:
    sub = {"id": "s", "type": "workflow", "config": {"tag": "other", "input": {"$expr": "input.n"}}}
    await desk.repository.create("default", renamed("other", workflow([task("a")])), "sdutt")
    await desk.repository.create("default", workflow([sub, task("z")], ("s", "z")), "sdutt")
    [start] = messages(await desk.start(input_={"n": 7}))
    assert (start.kind, start.start.tag, start.start.input, start.start.depth) == ("start", "other", 7, 1)
    [asked] = messages(await desk.say(start))
    done = WorkDone(work_id=asked.task.work_id, output="out")
    [told] = messages(await desk.say(WorkflowSignal(run_id=start.run_id, id="f", kind="finished", done=done)))
    assert (told.run_id, told.done.output) == ("run-1", "out")
    [following] = messages(await desk.say(told))
    assert following.task.action == "z"

    [start] = messages(await desk.start(run_id="run-2", input_={"n": 8}))
    await desk.say(start)
    [stop] = messages(await desk.say(WorkflowSignal(run_id="run-2", id="c", kind="cancel")))
    assert (stop.run_id, stop.kind) == (start.run_id, "cancel")
    await desk.say(stop)
    run = await desk.runs.get("default", start.run_id)
    assert run is not None
    assert run["status"] == "cancelled"


async def test_workflows_that_start_themselves_end_at_a_depth(desk: Desk) -> None:
    inner = {"id": "s", "type": "workflow", "config": {"tag": "main"}}
    await desk.repository.create("default", workflow([inner]), "sdutt")
    [signal] = messages(await desk.start())
    for _ in range(30):
        if signal.kind == "finished":
            break
        [signal] = messages(await desk.say(signal))
    assert signal.done.error.type == "too_deep"


async def test_cancelling_a_run_cancels_its_jobs(desk: Desk, pool: asyncpg.Pool) -> None:
    await desk.repository.create("default", workflow(*FAN), "sdutt")
    jobs = messages(await desk.start(input_=["x", "y"]))
    await desk.say(WorkflowSignal(run_id="run-1", id="c", kind="cancel"))
    rows = await pool.fetch("SELECT run_id FROM cancellations")
    assert {row["run_id"] for row in rows} == {job.job_id for job in jobs}


async def test_an_error_of_an_agent_is_the_node_s_and_a_strange_answer_is_nobody_s(desk: Desk) -> None:
    await desk.repository.create("default", workflow(*FAN), "sdutt")
    [job] = messages(await desk.start(input_=["x"]))
    stranger = answer(job).replace(run_id="a-caller-s-own")
    assert await desk.say(stranger) == []
    assert await desk.say(answer(job).replace(job_id="another")) == []
    await desk.say(answer(job, error=ResultError(type="limit_cost", message="used up")))
    run = await desk.runs.get("default", "run-1")
    assert run is not None
    assert (run["status"], run["error"]["type"]) == ("failed", "limit_cost")


async def test_work_that_cannot_be_asked_for_fails_its_node(desk: Desk) -> None:
    config = {"prompt": "x", "session_id": {"$expr": "input"}}
    await desk.repository.create("default", workflow([{"id": "a", "type": "agent", "config": config}]), "sdutt")
    [told] = messages(await desk.start(input_={"not": "text"}))
    assert (told.kind, told.done.error.type) == ("finished", "invalid_work")
    await desk.say(told)
    run = await desk.runs.get("default", "run-1")
    assert run is not None
    assert run["status"] == "failed"


async def test_a_signal_that_says_too_little_or_names_nothing_is_refused(desk: Desk) -> None:
    for kind in ("start", "finished", "tick", "event"):
        with pytest.raises(RejectedMessage) as error:
            await desk.say(WorkflowSignal(run_id="run-1", id="x", kind=kind))
        assert error.value.cause == "signal_incomplete"
    with pytest.raises(RejectedMessage) as unknown:
        await desk.start("nowhere")
    assert unknown.value.cause == "unknown_workflow"


# --- times and events


async def test_times_are_said_when_they_have_come_and_not_lost_with_who_says_them(desk: Desk) -> None:
    timer = {"id": "t", "type": "timer", "config": {"seconds": 60}}
    await desk.repository.create("default", workflow([timer, task("a")], ("t", "a")), "sdutt")
    await desk.start()  # at a time long ago, so it is due
    published: list[Any] = []

    async def fails(_: Any) -> None:
        raise TimeoutError

    async def publish(sends: Any) -> None:
        published.extend(messages(sends))

    with pytest.raises(DependencyUnavailable):
        await said(desk.pool, fails)
    assert await said(desk.pool, publish) == 1
    assert await said(desk.pool, publish) == 0
    [tick] = published
    assert (tick.kind, tick.at_ms) == ("tick", 2_060_000)
    first = await desk.say(tick)
    assert messages(first)[0].task.action == "a"
    assert await desk.say(tick) == first


async def test_a_schedule_starts_one_run_for_all_the_times_that_nobody_saw(desk: Desk) -> None:
    definition = workflow([task("a")], triggers=[{"type": "schedule", "every_s": 10}])
    await desk.repository.create("default", definition, "sdutt")
    published: list[Any] = []

    async def publish(sends: Any) -> None:
        published.extend(messages(sends))

    assert await said(desk.pool, publish) == 0
    await desk.pool.execute("UPDATE workflows SET next_at = now() - interval '1 hour'")
    assert await said(desk.pool, publish) == 1
    assert await said(desk.pool, publish) == 0
    [signal] = published
    assert (signal.kind, signal.start.trigger) == ("start", "schedule")
    left = await desk.pool.fetchval("SELECT next_at > now() AND next_at <= now() + interval '10 s' FROM workflows")
    assert left


async def test_a_calendar_is_due_at_its_times_and_a_change_of_something_else_leaves_them(desk: Desk) -> None:
    calendars = [{"type": "schedule", "cron": cron, "timezone": "Asia/Tokyo"} for cron in ("0 8 * * *", "0 20 * * *")]
    stored = await desk.repository.create("default", workflow([task("a")], triggers=calendars), "sdutt")
    published: list[Any] = []

    async def publish(sends: Any) -> None:
        published.extend(messages(sends))

    async def due() -> datetime:
        found: datetime = await desk.pool.fetchval("SELECT next_at FROM workflows")
        return found

    assert (await due()).hour in (23, 11), "in UTC"
    missed = await due() - timedelta(days=3)
    await desk.pool.execute("UPDATE workflows SET next_at = $1", missed)
    assert (await said(desk.pool, publish), await said(desk.pool, publish)) == (1, 0), "one run for all that passed"
    [signal] = published
    assert signal.start.input == {"scheduled_at": missed.isoformat()}
    now = await desk.pool.fetchval("SELECT now()")
    assert now < await due() <= now + timedelta(hours=12)
    assert await desk.repository.due(stored, "default") == await due()

    async def changed(version: int, **fields: Any) -> datetime:
        change = Change(author=stored.author, base_version=version)
        made = load_value({**stored.definition.document(), **fields}, known())
        await desk.repository.change("default", "main", "patched", change, lambda _: made)
        return await due()

    await desk.pool.execute("UPDATE workflows SET next_at = $1", missed)
    assert await changed(1, description="x") == missed, "not seen yet, and not lost"
    assert await changed(2, triggers=[calendars[0]]) > now
    assert await desk.repository.due(stored, "default") is None, "another version is live"
    assert await changed(3, triggers=[]) is None


async def test_an_event_starts_what_listens_for_it_once(desk: Desk) -> None:
    trigger = {"type": "whenever", "event": "com.github.pull_request.*", "filter": "data.title == 'Fix'"}
    await desk.repository.create("default", workflow([task("a")], triggers=[trigger]), "sdutt")
    await desk.repository.create("default", renamed("other", workflow([task("b")])), "sdutt")
    assert await _refresh(desk.pool, desk.listening, None)
    [start] = messages(await desk.say(an_event(1, data={"title": "Fix"})))
    assert (start.start.tag, start.start.version, start.start.trigger) == ("main", 1, "event")
    assert messages(await desk.say(an_event(1, data={"title": "Fix"}))) == [start]
    assert await desk.say(an_event(2, data={"title": "Break"})) == []
    [asked] = messages(await desk.say(start))
    assert asked.task.action == "a"
    async with followed(desk.pool, every_s=60) as listening:
        assert listening.starts(an_event(1, data={"title": "Fix"})) == [start], "known before the first event is taken"
