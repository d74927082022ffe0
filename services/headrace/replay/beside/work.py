"""An index beside from its making to the swap. Theory of operation::

    make      the tables beside, empty, unless they are there
    read      all records of the topics by a group of its own; the live index and its service go on
    check     the one beside against the topics, key by key (as any rebuild is), and against the live one, row by row

    swap: hold persistence; read what came in meanwhile; compare once more, up to where persistence stood; one transaction.

It may be cut off anywhere and begun again. Up to the transaction nothing live has changed; after it persistence goes on where it
stood, and what it reads again changes nothing, since the new index has read at least as far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from headrace.blobs.settings import open_blobs
from headrace.messages.errors import FatalError
from headrace.pipeline import STAGES
from headrace.postgres.errors import translated
from headrace.postgres.pool import open_pool
from headrace.replay.beside.comparing import TableComparison, compare
from headrace.replay.beside.reading import BesideService, beside_stage
from headrace.replay.beside.tables import Connection, NotPossible, Place, kept, make
from headrace.replay.beside.tables import swap as swap_tables
from headrace.replay.ledger import open_ledger
from headrace.replay.plan import Plan, make_plan
from headrace.replay.rebuild import Rebuild, Report, Watcher
from headrace.replay.service import Service
from headrace.replay.start import AtOffsets, Earliest, Partition, Start
from headrace.replay.stock import open_stock
from headrace.runtime.groups import Committed, Group
from headrace.runtime.ranges import Stretch
from headrace.settings import MeshSettings

Watching = Callable[[Plan], AbstractContextManager[Watcher]]


class Differs(FatalError):
    """The two indexes are not the same, and nobody said that this is right. Nothing was changed."""

    def __init__(self, rows: Sequence[TableComparison]) -> None:
        super().__init__("the index beside is not the live one; nothing was swapped")
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Beside:
    """What came of it. ``report`` None: there was nothing to read."""

    report: Report | None
    rows: Sequence[TableComparison]

    @property
    def same(self) -> bool:
        """Whether it is what the topics say, and what the live one is."""
        return (self.report is None or self.report.ok) and all(table.same for table in self.rows)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "same": self.same,
            "report": self.report.facts() if self.report else None,
            "rows": [asdict(one) | {"same": one.same} for one in self.rows],
        }


class Work:
    """On one index beside. ``pool`` is the live one's; ``patience_s`` as for any rebuild."""

    def __init__(
        self, settings: MeshSettings, pool: asyncpg.Pool, place: Place, watching: Watching, patience_s: float
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._place = place
        self._watching = watching
        self._patience_s = patience_s
        self._live = Group(settings, STAGES["persistence"].group)

    async def span(self) -> int:
        """How many offsets there are to read."""
        plan = await asyncio.to_thread(make_plan, self._settings, beside_stage(self._place), Earliest())
        return sum(leg.span for leg in plan.legs)

    async def build(self) -> Beside:
        """Raises ``NotPossible``, and what ``Rebuild.run`` does."""
        with translated():
            async with self._pool.acquire() as connection:
                await make(connection, self._place)
        plan, report = await self._read(Earliest())
        with translated():
            async with self._pool.acquire() as connection:
                return Beside(report, await compare(connection, self._place, await self._bounds(plan)))

    async def swap(self, service: Service, *, whatever: bool) -> Beside:
        """``whatever``: also if rows differ.

        Raises:
            NotPossible: there is no such index, or rights are missing.
            Differs: nothing was changed.
            GroupActive: persistence runs, or came back.
        """
        with translated():
            async with self._pool.acquire() as connection:
                if self._place.beside not in await kept(connection):
                    raise NotPossible(
                        f"there is no index {self._place.name} beside: `headrace replay rebuild --beside` makes it"
                    )
        async with service.stopped():
            await asyncio.to_thread(self._live.wait_empty, self._patience_s)
            plan, report = await self._read(AtOffsets({}))
            with translated():
                async with self._pool.acquire() as connection:
                    return await self._swapped(connection, plan, report, whatever=whatever)

    async def _swapped(self, connection: Connection, plan: Plan, report: Report | None, *, whatever: bool) -> Beside:
        stood = await self._stands(plan)
        found = Beside(report, await compare(connection, self._place, _bounds(plan, stood)))
        if not found.same and not whatever:
            raise Differs(found.rows)

        async def still() -> None:
            await asyncio.to_thread(self._live.wait_empty, 0.0)
            if await self._stands(plan) != stood:
                raise FatalError("persistence has read on meanwhile: give the command again; nothing was swapped")

        await swap_tables(connection, self._place, still)
        return found

    async def _read(self, start: Start) -> tuple[Plan, Report | None]:
        """Everything from ``start`` to where the topics end now."""
        stage = beside_stage(self._place)
        plan = await asyncio.to_thread(make_plan, self._settings, stage, start)
        if not any(leg.span for leg in plan.legs):
            return plan, None
        ends = {leg.where: leg.end for leg in plan.legs}
        with self._watching(plan) as watcher:
            async with (
                open_pool(self._settings, max_size=4, service="headrace-replay", search_path=self._place.path) as pool,
                open_ledger(pool, ends) as books,
                open_stock(self._settings, stage, plan, open_blobs(self._settings, pool)) as stock,
            ):
                work = Rebuild(self._settings, stage, plan, books, stock, watcher)
                service = BesideService(self._settings, self._place)
                return plan, await work.run(await work.survey(), service, empty=False, timeout_s=self._patience_s)

    async def _bounds(self, plan: Plan) -> dict[Partition, Stretch]:
        return _bounds(plan, await self._stands(plan))

    async def _stands(self, plan: Plan) -> dict[Partition, Committed]:
        """Where persistence is."""
        return await asyncio.to_thread(self._live.committed, [leg.where for leg in plan.legs], stable=True)


def _bounds(plan: Plan, stands: dict[Partition, Committed]) -> dict[Partition, Stretch]:
    """What both have read."""
    nowhere = Committed(0)
    return {leg.where: (leg.first, min(leg.end, stands.get(leg.where, nowhere).offset)) for leg in plan.legs}
