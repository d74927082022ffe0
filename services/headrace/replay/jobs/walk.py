"""Going through the list of a job at a rate, batch by batch, each done and then marked.

Killed between the two, the next holder does that batch again, so ``act`` has to be something that counts once if it is done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from headrace.control.replays.items import Items
from headrace.control.replays.states import Said
from headrace.messages.replay import ActionKind
from headrace.replay.jobs.begin import begun
from headrace.replay.jobs.held import Held
from headrace.replay.jobs.progress import Progress

Act = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Does it to these; of those that can't be done, the reason."""
_BATCH: Final = 100
_BEAT_S: Final = 1.0  # a batch is what this time allows
_SHOWN: Final = 1_000


async def gone_through(held: Held, act: Act, *, rate: float, kind: ActionKind, **about: Any) -> Said:
    """The work of a job that has a list, from its begin to its report; ``kind`` and ``about`` are what is on record of it."""
    await begun(held.leases, held.job)
    held.progress.phase = "running"
    items = Items(held.pool, held.job)
    async with held.on_record(kind, **about) as done:
        await _walked(items, act, rate=rate, progress=held.progress)
        facts = await _told(items)
        done.records = facts["done"]
    await held.leases.reported(held.job, facts, None)
    return "complete"


async def _walked(items: Items, act: Act, *, rate: float, progress: Progress) -> None:
    """Until all are done with; ``rate`` a second on average."""
    counts = await items.counts()
    progress.of(counts.total)
    progress.told(passed := counts.passed)
    size = max(1, min(_BATCH, int(rate * _BEAT_S)))
    clock, after, due = asyncio.get_running_loop().time, 0, 0.0
    while batch := await items.left(after, size):
        await asyncio.sleep(due - clock())
        due = max(due, clock()) + len(batch) / rate
        refused = await act([item.name for item in batch])
        await items.done({item.number: refused.get(item.name) for item in batch})
        after = batch[-1].number
        progress.told(passed := passed + len(batch))


async def _told(items: Items) -> dict[str, Any]:
    """For the report: what came of all of them, and the first that were refused with the reason."""
    counts = await items.counts()
    return {"done": counts.passed - counts.refused, "refused": counts.refused, "reasons": await items.refused(_SHOWN)}
