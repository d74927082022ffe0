"""What runs would have cost at other prices, as a job: a long time, added up part by part. One that is cut off begins again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final

from headrace.control.replays.requests import RepriceRequest
from headrace.control.replays.states import Said
from headrace.index.spent import Spent, spent_by_model
from headrace.models.rates import table_of
from headrace.replay.jobs.begin import begun
from headrace.replay.jobs.held import Held
from headrace.replay.reprice import facts, reprice

_PARTS: Final = 100


async def reprice_all(held: Held, request: RepriceRequest) -> Said:
    """Work of the kind ``reprice``. Without an end of its own it reaches to when it was asked for."""
    job, progress = held.job, held.progress
    table = table_of(request.model, request.prices)
    until = request.until or job.created_at
    await held.leases.settled(job, "{}", {"parts": _PARTS})
    if job.dry_run:
        return "plan"
    await begun(held.leases, job)
    progress.phase = "adding up"
    progress.of(_PARTS)
    spent: dict[tuple[str, str], Spent] = {}
    for number, (start, end) in enumerate(_parts(request.since, until), 1):
        for one in await spent_by_model(held.pool, job.tenant, since=start, until=end, agent=request.agent):
            there = spent.get((one.agent, one.model))
            spent[one.agent, one.model] = one if there is None else there.plus(one)
        progress.told(number)
    rows = reprice([spent[name] for name in sorted(spent)], table)
    await held.leases.reported(job, facts(rows, table, request.since, until), None)
    return "complete"


def _parts(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The time in equal parts, without a gap."""
    bounds = [since + (until - since) * number / _PARTS for number in range(_PARTS)] + [until]
    yield from pairwise(bounds)
