"""The index of runs made again beside the live one, put in its place, and what is left of one removed, as jobs.

Each may be cut off and done again. An index is put in place while persistence stands still; the service of replays can't see to
that, so the job waits until somebody has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Final

from headrace.control.replays.requests import DropRequest, RebuildRequest, SwapRequest
from headrace.control.replays.states import Said
from headrace.postgres.errors import translated
from headrace.replay.beside import tables
from headrace.replay.beside.tables import Connection, NotPossible, Place, check_possible, kept, place_of
from headrace.replay.beside.work import Beside, Differs, Work
from headrace.replay.census import Census
from headrace.replay.jobs.begin import begun
from headrace.replay.jobs.held import Held
from headrace.replay.jobs.progress import Progress
from headrace.replay.pace import Pace
from headrace.replay.service import Elsewhere
from headrace.runtime.groups import Member

_SERVICE: Final = "persistence"


async def build_beside(held: Held, request: RebuildRequest) -> Said:
    """Work of the kind ``rebuild``. Its estimate is how many offsets there are to read: at most so many records."""
    async with _place(held, request.index) as (connection, place):
        await check_possible(connection, place)
    work = _work(held, place, request.patience_s)
    await held.leases.settled(held.job, "{}", {"offsets": await work.span()})
    if held.job.dry_run:
        return "plan"
    await begun(held.leases, held.job)
    async with held.on_record("rebuild_beside", service=_SERVICE, range=f"to earliest, {place.name}") as done:
        found = await work.build()
        done.records = found.report.records if found.report else 0
    await held.leases.reported(held.job, found.facts(), None)
    return "complete"


async def swap_in(held: Held, request: SwapRequest) -> Said:
    """Work of the kind ``swap``. One that differs is never swapped; its report has the rows."""
    if not await _agreed(held):
        return "plan"
    async with _place(held, request.index) as (connection, place):
        await check_possible(connection, place)
        schemas = await kept(connection)
    taken_up = held.job.began_at is not None
    await begun(held.leases, held.job)
    if taken_up and place.before in schemas and place.beside not in schemas:  # cut off when it was done
        found = Beside(None, ())
    else:
        found = await _swapped(held, place, request.patience_s)
    await held.leases.reported(held.job, found.facts(), None)
    return "complete"


async def drop_kept(held: Held, request: DropRequest) -> Said:
    """Work of the kind ``drop``."""
    if not await _agreed(held):
        return "plan"
    async with _place(held, request.index) as (connection, place):
        there = [schema for schema in (place.beside, place.before) if schema in await kept(connection)]
        if not there and held.job.began_at is None:
            raise NotPossible(f"no index {place.name} is kept")
        await begun(held.leases, held.job)
        async with held.on_record("drop", service=_SERVICE, range=", ".join(there)):
            await tables.drop(connection, place)
    await held.leases.reported(held.job, {"dropped": there}, None)
    return "complete"


async def _swapped(held: Held, place: Place, patience_s: float) -> Beside:
    work = _work(held, place, patience_s)
    async with held.on_record("swap", service=_SERVICE, range=place.name):
        try:
            return await work.swap(Elsewhere(), whatever=False)
        except Differs as differs:
            await held.leases.reported(held.job, Beside(None, differs.rows).facts(), None)
            raise


async def _agreed(held: Held) -> bool:
    await held.leases.settled(held.job, "{}", {})
    return held.agreed


@asynccontextmanager
async def _place(held: Held, index: str) -> AsyncIterator[tuple[Connection, Place]]:
    with translated():
        async with held.pool.acquire() as connection:
            yield connection, await place_of(connection, index)


def _work(held: Held, place: Place, patience_s: float) -> Work:
    watching = _Watching(held.progress)
    return Work(held.settings, held.pool, place, lambda plan: nullcontext(watching), patience_s)


class _Watching:
    """The ``Watcher`` of a rebuild that tells a job's progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def surveyed(self, census: Census, span: int) -> None:
        self._progress.phase = "surveying"
        self._progress.told(census.total, total=span)

    def waiting(self, members: Sequence[Member]) -> None:
        self._progress.phase = "waiting for the group to be empty"

    def said(self, text: str) -> None:
        self._progress.phase = text

    def paced(self, pace: Pace) -> None:
        self._progress.phase = "reading"
        self._progress.told(pace.done, total=pace.total)
