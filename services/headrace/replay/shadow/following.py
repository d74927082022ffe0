"""What a shadow needs that goes on with the live tail: where it stands, a report now and then, the answers of tools as they come.

The live run of an event has to be over before its shadow can ask for what tools gave it, so an event is replayed some time after it
came. Answers are kept for one to two hours: a live run that takes longer has its calls missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headrace.messages.errors import BadMessage, DependencyUnavailable
from headrace.messages.event import Event
from headrace.messages.run import ToolCall, ToolCalls, ToolOutcome, ToolResults
from headrace.observe.logging import get_logger
from headrace.replay.shadow.answers import Answers, Offered
from headrace.replay.shadow.plan import ShadowPlan
from headrace.replay.shadow.spending import Purse
from headrace.runtime.admin import Admin
from headrace.runtime.groups import Group
from headrace.runtime.ranges import Ranges
from headrace.runtime.tail import Since, Start, Tail
from headrace.runtime.wire import Wire
from headrace.settings import MeshSettings

log = get_logger(__name__)
TOPICS: Final = (ToolCalls.TOPIC, ToolResults.TOPIC)
_KEPT_S: Final = 3_600.0
_AGAIN_S: Final = 1.0
_LOOK_S: Final = 1.0
_OVERLAP_MS: Final = 60_000


class RecentAnswers(Answers):
    """Two generations: both are told everything, the older one is asked, and forgotten after ``kept_s``."""

    def __init__(self, agent: str, *, kept_s: float = _KEPT_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(agent)
        self._kept_s = kept_s
        self._clock = clock
        self._older, self._newer = Answers(agent), Answers(agent)
        self._since = clock()

    def __len__(self) -> int:
        return len(self._older)

    def note(self, message: ToolCalls | ToolResults) -> None:
        if self._clock() - self._since > self._kept_s:
            self._older, self._newer, self._since = self._newer, Answers(self._agent), self._clock()
        self._older.note(message)
        self._newer.note(message)

    def find(self, call: ToolCall, event_uid: str | None) -> ToolOutcome | None:
        return self._older.find(call, event_uid)

    def offered(self, event_uid: str | None) -> Offered | None:
        return self._older.offered(event_uid)


class Standing:
    """Where a following replay is. All methods block, and raise as ``runtime.groups`` and ``runtime.ranges``."""

    def __init__(self, settings: MeshSettings, plan: ShadowPlan, group: Group) -> None:
        self._settings = settings
        self.plan = plan
        self._group = group
        self._admin = Admin(settings)
        self._where = [(Event.TOPIC, number) for number in plan.ranges]

    def lag(self) -> tuple[int, int]:
        """Offsets passed since the beginning, and those that there are."""
        found = self._admin.group_lag(self.plan.stage.group, [Event.TOPIC])[Event.TOPIC]
        passed = max(0, found.committed - sum(start for start, _ in self.plan.ranges.values()))
        return passed, passed + found.lag

    def so_far(self, at_ms: int) -> ShadowPlan:
        """The plan with the range that is passed, ``at_ms`` (epoch ms) as it is said."""
        committed = self._group.committed(self._where)
        ends = {where[1]: one.offset for where, one in committed.items()}
        if self.plan.until_ms is None:
            return self._ending(ends, at_ms)
        last = self.until().ranges
        ends = {number: min(end, last[number][1]) for number, end in ends.items()}
        return self._ending(ends, min(at_ms, self.plan.until_ms))

    def until(self) -> ShadowPlan:
        """The plan with the range up to its end in time."""
        assert self.plan.until_ms is not None, "it has an end"
        ranges = Ranges(self._settings, "shadow")
        ends = {number: end for number, (_, end) in ranges.extents([Event.TOPIC])[Event.TOPIC].partitions.items()}
        times = ranges.at_time(self._where, self.plan.until_ms)
        return self._ending(ends | {where[1]: at for where, at in times.items()}, self.plan.until_ms)

    def over(self) -> bool:
        """Whether its end in time has come."""
        return self.plan.until_ms is not None and now_ms() >= self.plan.until_ms

    def _ending(self, ends: Mapping[int, int], to_ms: int) -> ShadowPlan:
        ranges = {
            number: (start, max(start, ends.get(number, start))) for number, (start, _) in self.plan.ranges.items()
        }
        return msgspec.structs.replace(self.plan, ranges=ranges, to_ms=to_ms)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _nobody(_plan: ShadowPlan) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Trail:
    """How a following replay is watched: ``report`` is given the plan with the range passed so far, every ``every_s`` at most and
    for a tenth of the time at most. ``enough`` ends it.
    """

    report: Callable[[ShadowPlan], Awaitable[None]] = _nobody
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    every_s: float = 30.0

    async def watched(self, standing: Standing, purse: Purse, told: Callable[[int, int, float], None]) -> None:
        """Returns when it is enough, the replay's end in time has come, or all is spent that may be: then it is enough too.

        ``told``: offsets passed, of how many, and US dollars spent by all processes.
        """
        due = time.monotonic() + self.every_s
        spent = 0.0
        while not self.enough.is_set() and not standing.over():
            with suppress(DependencyUnavailable):  # who pays would know
                spent = await purse.add(0.0)
            told(*await asyncio.to_thread(standing.lag), spent)
            if spent >= standing.plan.max_cost_usd:
                self.enough.set()
            elif (began := time.monotonic()) >= due:
                await self.report(await asyncio.to_thread(standing.so_far, now_ms()))
                due = time.monotonic() + max(self.every_s, 9 * (time.monotonic() - began))
            with suppress(TimeoutError):
                await asyncio.wait_for(self.enough.wait(), _LOOK_S)


@asynccontextmanager
async def coming(settings: MeshSettings, wire: Wire, answers: Answers) -> AsyncIterator[None]:
    """Tell ``answers`` what tools are asked and answer from entering on, until exit."""
    ready = asyncio.Event()
    task = asyncio.create_task(_noted(settings, wire, answers, ready), name="shadow-answers")
    try:
        await ready.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _noted(settings: MeshSettings, wire: Wire, answers: Answers, ready: asyncio.Event) -> None:
    """Through outages: goes on a little before where it was; what is told twice is the same."""
    start: Start = "end"
    seen_ms = 0
    while True:
        try:
            async with Tail(settings, TOPICS, start=start) as tail:
                seen_ms = time.time_ns() // 1_000_000
                ready.set()
                async for record in tail:
                    seen_ms = max(seen_ms, record.timestamp_ms)
                    with suppress(BadMessage):
                        message = await wire.decode(record.topic, record.key, record.value, record.headers)
                        if isinstance(message, ToolCalls | ToolResults):
                            answers.note(message)
        except DependencyUnavailable as error:
            log.warning("shadow_answers_wait", reason=str(error))
            if ready.is_set():
                start = Since(seen_ms - _OVERLAP_MS)
            await asyncio.sleep(_AGAIN_S)
