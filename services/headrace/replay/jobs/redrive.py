"""Dead letters of one service sent back, as a job: listed when it is planned, each sent once, as it is or edited.

An edit is made on all of them when it is planned, so that one with a slip sends none back. What went back meanwhile, by whoever's
hand, is not sent again: it has its marker.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import orjson

from headrace.control.replays.requests import RedriveRequest
from headrace.control.replays.states import Said
from headrace.replay.jobs.held import Held
from headrace.replay.jobs.walk import gone_through
from headrace.replay.redrive_edit import edit_of
from headrace.runtime.deadletters import DeadLetters, Entry

_WENT: Final = "it has gone back already"


async def redrive_all(held: Held, request: RedriveRequest) -> Said:
    """Work of the kind ``redrive``."""
    job, box = held.job, DeadLetters(held.settings, request.service)
    edit = None if request.edit is None else edit_of(orjson.dumps(request.edit), "edit")

    def redrive(entries: Collection[str] | None, *, dry_run: bool = False) -> list[Entry]:
        return box.redrive(entries, dry_run=dry_run, edit=edit, by=job.started_by)

    if job.plan is None:
        found = await asyncio.to_thread(redrive, request.entries, dry_run=True)
        await held.leases.listed(job, "{}", _estimate(found, request), [entry.id for entry in found])
    if not held.agreed:
        return "plan"

    async def act(ids: Sequence[str]) -> Mapping[str, str]:
        sent = {entry.id for entry in await asyncio.to_thread(redrive, ids)}
        return {one: _WENT for one in ids if one not in sent}

    return await gone_through(held, act, rate=request.rate, kind="redrive", service=request.service)


def _estimate(found: Sequence[Entry], request: RedriveRequest) -> dict[str, object]:
    return {
        "entries": len(found),
        "gone_already": len(set(request.entries)) - len(found) if request.entries else 0,
        "causes": dict(Counter(entry.cause for entry in found)),
        "topics": dict(Counter(entry.topic for entry in found)),
    }
