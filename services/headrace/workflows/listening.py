"""Which workflows an event may start: those whose live version has a trigger ``whenever``, held in memory and read anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import asyncpg

from headrace.messages.event import Event
from headrace.messages.ids import workflow_run_id
from headrace.messages.workflow import WorkflowSignal, WorkStart
from headrace.postgres.errors import translated
from headrace.postgres.repeated import repeated
from headrace.registry.triggers import match
from headrace.workflows.check import pattern_of
from headrace.workflows.definition import WorkflowDefinition

_CHANGED: Final = "SELECT count(*) AS number, max(changed_at) AS at FROM workflows"
_LIVE: Final = """
SELECT v.tenant, v.version, v.definition FROM workflows w
JOIN workflow_versions v ON v.tenant = w.tenant AND v.tag = w.tag AND v.version = w.live_version
WHERE w.listens ORDER BY v.tenant, v.tag
"""

Live = tuple[str, int, WorkflowDefinition]  # tenant, version, definition


class Listening:
    """The workflows that wait for events."""

    def __init__(self, live: Iterable[Live] = ()) -> None:
        self.live = tuple(live)

    def starts(self, event: Event) -> list[WorkflowSignal]:
        """A start for each workflow that ``event`` starts. The event names the run, so it is one run however often it comes."""
        return [
            _start(event, version, definition)
            for tenant, version, definition in self.live
            if tenant == event.tenant and _concerns(event, definition)
        ]


def _concerns(event: Event, definition: WorkflowDefinition) -> bool:
    triggers = (pattern_of(trigger) for trigger in definition.triggers if trigger.type == "whenever")
    return any(match(event, trigger, agent=f"workflow:{definition.tag}") for trigger in triggers)


def _start(event: Event, version: int, definition: WorkflowDefinition) -> WorkflowSignal:
    run_id = workflow_run_id(event.tenant, definition.tag, f"event:{event.uid}")
    start = WorkStart(tag=definition.tag, version=version, input=event.plain(), trigger="event")
    return WorkflowSignal(tenant=event.tenant, run_id=run_id, id=f"{run_id}:start", kind="start", start=start)


@asynccontextmanager
async def followed(pool: asyncpg.Pool, *, every_s: float = 1.0) -> AsyncIterator[Listening]:
    """What is listening, kept up to date in the background: a change counts within ``every_s`` or so.

    Entering waits until it was read once: an event must not be passed over for want of knowing whom it concerns.
    """
    listening, read = Listening(), asyncio.Event()
    seen: tuple[int, datetime | None] | None = None

    async def refresh() -> None:
        nonlocal seen
        seen = await _refresh(pool, listening, seen)
        read.set()

    async with repeated(refresh, every_s=every_s, name="listening-workflows", failed="workflows_not_read"):
        await read.wait()
        yield listening


async def _refresh(
    pool: asyncpg.Pool, listening: Listening, seen: tuple[int, datetime | None] | None
) -> tuple[int, datetime | None]:
    """Read them again if any workflow has changed since."""
    with translated():
        [row] = await pool.fetch(_CHANGED)
        now = (row["number"], row["at"])
        if now != seen:
            rows = await pool.fetch(_LIVE)
            live = ((row["tenant"], row["version"], WorkflowDefinition.checked(row["definition"])) for row in rows)
            listening.live = tuple(live)
    return now
