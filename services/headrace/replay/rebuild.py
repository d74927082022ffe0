"""Rebuild: what a service keeps made again from the topics, by its own code. Theory of operation::

    plan      where each partition starts and ends               reads only
    survey    every record of it into the books (``census``)     reads only; says what an emptying would lose
    stop      the service; then the group must be empty
    reset     the group's offsets, read back
    empty     the index, in one transaction, if asked for
    run       the service until it has passed the last record of the plan
    check     books against tables

It may be cut off anywhere. Up to the reset nothing has changed; after it, whoever runs the service reads everything again, which
changes nothing that is there and fills in what is not (audit passes over what has its entry). That is why the reset comes before
the emptying: an empty index whose group stands at the start fills itself. The emptying looks at the group once more with the
tables locked: a member that came in between might have committed rows away. Doing it all again is always right, and is how a
rebuild that was cut off is checked.

It owns no Kafka client and no service: ``runtime`` has the one, ``Service`` is the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from headrace.messages.errors import DependencyUnavailable, FatalError
from headrace.persistence.settings import PersistenceSettings
from headrace.pipeline import Stage
from headrace.replay import pace
from headrace.replay.census import Census, take_census
from headrace.replay.ledger import Ledger, TableCheck
from headrace.replay.pace import Pace, Pacer
from headrace.replay.plan import Plan
from headrace.replay.service import Service
from headrace.replay.stock import Stock
from headrace.runtime.deadletters import DeadLetters
from headrace.runtime.groups import Group, Member
from headrace.settings import MeshSettings

REBUILDABLE: Final = ("persistence", "audit")
_POLL_S: Final = 0.25


class NotRebuildable(FatalError):
    """A service that keeps nothing that could be made again, or something that can't be emptied."""


class Watcher(Protocol):
    """Is told what goes on."""

    def surveyed(self, census: Census, span: int) -> None: ...

    def waiting(self, members: Sequence[Member]) -> None: ...

    def said(self, text: str) -> None: ...

    def paced(self, pace: Pace) -> None: ...


@dataclass(frozen=True, slots=True)
class Survey:
    """``lost``: rows by table that an emptying would lose, since no record of the plan would make them again."""

    census: Census
    totals: Mapping[str, int]
    lost: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. ``deliveries`` before and after; they are never touched."""

    records: int
    seconds: float
    emptied: bool
    dead_letters: int
    checks: tuple[TableCheck, ...]
    deliveries: tuple[int, int]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks) and self.deliveries[0] == self.deliveries[1]

    @property
    def rate(self) -> float:
        """Records a second, from the service's start to the last commit."""
        return self.records / self.seconds if self.seconds > 0 else 0.0

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ok": self.ok,
            "emptied": self.emptied,
            "seconds": round(self.seconds, 3),
            "records_per_s": round(self.rate, 1),
            "dead_letters": self.dead_letters,
            "tables": [asdict(check) | {"ok": check.ok} for check in self.checks],
            "deliveries": {"before": self.deliveries[0], "after": self.deliveries[1]},
        }


def check_rebuildable(stage: Stage, *, empty: bool) -> None:
    """Raises ``NotRebuildable``, saying why."""
    if stage.service.partition(".")[0] not in REBUILDABLE:
        raise NotRebuildable(f"{stage.service} keeps nothing that could be rebuilt; there is: {', '.join(REBUILDABLE)}")
    if empty and stage.service == "audit":
        raise NotRebuildable("audit.events is append-only and is never emptied; check it with `headrace audit verify`")


class Rebuild:
    """One rebuild: ``survey``, then ``run``."""

    def __init__(
        self, settings: MeshSettings, stage: Stage, plan: Plan, ledger: Ledger, stock: Stock, watcher: Watcher
    ) -> None:
        self._settings = settings
        self._stage = stage
        self._plan = plan
        self._ledger = ledger
        self._stock = stock
        self._watcher = watcher
        self._group = Group(settings, stage.group)

    async def survey(self) -> Survey:
        """Reads all of the plan; changes nothing."""
        span = sum(leg.span for leg in self._plan.legs)
        census = await take_census(
            self._settings,
            self._plan.stretches,
            self._stock,
            self._ledger,
            lambda census: self._watcher.surveyed(census, span),
        )
        await self._stock.note("before", self._ledger)
        return Survey(census, await self._ledger.totals(), await self._ledger.lost_by_emptying())

    async def run(self, survey: Survey, service: Service, *, empty: bool, timeout_s: float) -> Report:
        """Does it. ``timeout_s`` bounds the wait for the group to be empty, and any time without progress.

        Raises:
            NotRebuildable: ``empty`` for what can't be emptied. Nothing was changed.
            GroupActive: somebody was or came in the group. Run it again.
            DependencyUnavailable: a server is away, or nothing moves. Run it again.
        """
        check_rebuildable(self._stage, empty=empty)
        async with service.stopped():
            await asyncio.to_thread(self._group.wait_empty, timeout_s, self._watcher.waiting)
            await self._stock.note("before", self._ledger)
            began = await self._ledger.now()
            deliveries = await self._deliveries(began)
            self._watcher.said("resetting offsets")
            await asyncio.to_thread(self._group.reset, self._plan.starts)
            if empty:
                await self._empty()
        started = time.monotonic()
        async with service.running() as ended:
            await self._follow(survey.census, ended, timeout_s)
            seconds = time.monotonic() - started
        dead = await self._dead_letters()
        await self._stock.note("after", self._ledger)
        return Report(
            records=survey.census.total,
            seconds=seconds,
            emptied=empty,
            dead_letters=dead,
            checks=tuple(await self._ledger.compare(self._stock.names, emptied=empty)),
            deliveries=(deliveries, await self._deliveries(began)),
        )

    async def _empty(self) -> None:
        self._watcher.said("emptying the index")
        async with self._ledger.emptying():
            await asyncio.to_thread(self._group.wait_empty, 0.0)
            await asyncio.to_thread(self._group.verify, self._plan.starts)

    async def _follow(self, census: Census, ended: asyncio.Future[None], timeout_s: float) -> None:
        """Until the group has passed the last record of every partition."""
        legs = {leg.where: leg for leg in self._plan.legs}
        pacer, moved, last = Pacer(census.total), time.monotonic(), -1
        while True:
            committed = await self._positions(list(legs))
            now, passed = time.monotonic(), pace.done(legs, census, committed)
            self._watcher.paced(pacer.note(now, passed))
            left = pace.behind(census, committed)
            if not left:
                return
            if passed > last:
                moved, last = now, passed
            if now - moved > timeout_s:
                where = ", ".join(f"{topic}:{partition}" for topic, partition in sorted(left))
                raise DependencyUnavailable(
                    f"no progress for {timeout_s:g} s; records are left in {where}. Is {self._stage.service} running? "
                    "The same command goes on from here"
                )
            await asyncio.wait([ended], timeout=_POLL_S)
            if ended.done():
                await ended

    async def _positions(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        committed = await asyncio.to_thread(self._group.committed, partitions)
        return {where: one.offset for where, one in committed.items()}

    async def _dead_letters(self) -> int:
        """Notes what the service has ever dead-lettered of the plan; how much that is."""
        letters = await asyncio.to_thread(
            DeadLetters(self._settings, self._stage.dead_letters.removesuffix(".dlq")).entries, include_redriven=True
        )
        stretches: Mapping[Any, tuple[int, int]] = self._plan.stretches
        places = {
            f"{letter.topic}/{letter.partition}/{letter.offset}"
            for letter in letters
            if (stretch := stretches.get((letter.topic, letter.partition))) and stretch[0] <= letter.offset < stretch[1]
        }
        await self._ledger.note_dead(places)
        return len(places)

    async def _deliveries(self, began: datetime) -> int:
        """Of the younger half of the window, so that none grows too old while the rebuild runs."""
        window = timedelta(hours=PersistenceSettings().claim_hours)
        return await self._ledger.deliveries(began - window / 2, began)
