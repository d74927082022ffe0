"""Ended runs are removed with their events when their time is over, and nothing else is; how many go on is measured."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from headrace.messages.workflow import WorkDone, WorkflowSignal, WorkParent
from headrace.observe.metrics import FORGOTTEN, WORKFLOWS_OLDEST, WORKFLOWS_OPEN
from headrace.orchestration.standing import Standing
from headrace.workflows import forgetting
from headrace.workflows.forgetting import Forgetting
from tests.postgres.database import empty_pool, pool
from tests.workflows.support import task, workflow
from tests.workflows.test_store import Desk, messages

__all__ = ["empty_pool", "pool"]

KEEP = timedelta(days=30)


async def begin(desk: Desk, run_id: str, *, ends: bool, parent: str | None = None) -> WorkflowSignal:
    """A run of one task (it began in 1970), and what ends it."""
    above = WorkParent(run_id=parent, work_id="w") if parent else None
    (asked,) = messages(await desk.start(run_id=run_id, parent=above, depth=1 if parent else 0))
    done = WorkDone(work_id=asked.task.work_id, output=1)
    end = WorkflowSignal(run_id=run_id, id=f"end-{run_id}", kind="finished", done=done)
    if ends:
        await desk.say(end)
    return end


async def left(pool: asyncpg.Pool) -> set[str]:
    rows = await pool.fetch("SELECT run_id FROM workflow_runs UNION SELECT run_id FROM workflow_events")
    return {row["run_id"] for row in rows}


async def test_what_ended_long_ago_goes_and_nothing_else(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "_BATCH", 2)
    desk = Desk(pool)
    await desk.repository.create("default", workflow([task("a")]), "sdutt")
    ends = [await begin(desk, f"old-{number}", ends=True) for number in range(5)]
    await begin(desk, "open", ends=False)
    await begin(desk, "below-open", ends=True, parent="open")
    await begin(desk, "below-old", ends=True, parent="old-0")
    await begin(desk, "young", ends=True)
    await pool.execute("UPDATE workflow_runs SET ended_at = now() - interval '29 days' WHERE run_id = 'young'")
    before = FORGOTTEN.labels("workflow_run").value
    await Forgetting(pool, KEEP).forget()
    assert await left(pool) == {"open", "below-open", "young"}
    assert FORGOTTEN.labels("workflow_run").value == before + 6
    assert [one.version for one in await desk.repository.history("default", "main")] == [1]
    assert await desk.say(ends[0].replace(id="late")) == [], (
        "a record of a run that is gone, which this process remembers"
    )
    assert await desk.say(ends[0], desk.another()) == []
    assert await left(pool) == {"open", "below-open", "young"}


async def test_runs_that_go_on_are_measured(pool: asyncpg.Pool) -> None:
    desk = Desk(pool)
    await desk.repository.create("default", workflow([task("a")]), "sdutt")
    for name in ("one", "two"):
        await begin(desk, name, ends=False)
    await begin(desk, "over", ends=True)
    await desk.say(WorkflowSignal(run_id="two", id="p", kind="pause"))
    await pool.execute("UPDATE workflow_runs SET started_at = now() - interval '1 hour' WHERE run_id = 'two'")
    standing = Standing(pool)
    await standing.measure()

    def runs() -> dict[str, float]:
        return {name: WORKFLOWS_OPEN.labels(name)._value.get() for name in ("running", "paused", "compensating")}

    assert runs() == {"running": 1, "paused": 1, "compensating": 0}
    assert 3_600 <= WORKFLOWS_OLDEST.labels("paused")._value.get() < 3_700
    await desk.say(WorkflowSignal(run_id="two", id="r", kind="resume"))
    await standing.measure()
    assert runs() == {"running": 2, "paused": 0, "compensating": 0}
    assert WORKFLOWS_OLDEST.labels("paused")._value.get() == 0
