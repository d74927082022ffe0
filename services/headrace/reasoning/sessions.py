"""A run's turn in its session: when it may begin, and what it finds there.

    enqueue      it begins when all that came before it have ended (the default)
    reject       it is refused (``session_busy``) if the session was busy when its job was written
    interrupt    what came before it is cancelled, then it begins

A run waits inside its lane, for at most its own time: past its deadline it is refused as ``session_busy`` too. Runs that wait share
one question to Postgres, four times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from headrace.control.cancellations import CancelledRuns
from headrace.control.session_queue import Arrival, Place
from headrace.messages.agent import AgentDefinition, Limits
from headrace.messages.errors import DependencyUnavailable
from headrace.messages.job import Job
from headrace.messages.result import ResultError
from headrace.messages.run import DoubleTexting, RunInfo, SessionState
from headrace.reasoning.admission import deadline_ms
from headrace.reasoning.agents import Agents
from headrace.reasoning.ledger import Verdict
from headrace.reasoning.limits import CANCELLED
from headrace.runtime.api import Context
from headrace.runtime.within import TimeIsUp, within

GRACE_MS: Final = 60_000  # from a run's deadline to its result in the index, at most
_EVERY_S: Final = 0.25
_REJECT_AFTER_S: Final = 2.0  # a run that has ended may not be in the index yet


def policy(job: Job, definition: AgentDefinition | None) -> DoubleTexting:
    """The job's own, else its agent's, else to wait."""
    return job.double_texting or (definition and definition.double_texting) or "enqueue"


def arrivals(jobs: Sequence[tuple[Job, Context]], seen: Sequence[Verdict | Exception], agents: Agents) -> list[Arrival]:
    """The places that new jobs take in their sessions."""
    found = []
    for (job, context), verdict in zip(jobs, seen, strict=True):
        session_id = job.context.session_id
        if session_id is None or verdict != "new":
            continue
        definition = agents.definition(job.agent, job.agent_version, session_id)  # None: not yet, or it will be refused
        until = deadline_ms(job, context, definition.limits if definition else Limits()) + GRACE_MS
        interrupts = policy(job, definition) == "interrupt"
        found.append(Arrival(Place(job.tenant, session_id, job.job_id), until, interrupts))
    return found


class Queue(Protocol):
    """``control.session_queue.PostgresSessionQueue``. All raise ``DependencyUnavailable``."""

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None: ...

    async def first(self, places: Sequence[Place]) -> set[Place]: ...

    async def state(self, place: Place) -> SessionState: ...

    async def ended_since(self, place: Place, since_ms: int) -> bool: ...

    async def leave(self, place: Place) -> None: ...


class Sessions(Protocol):
    """Where runs find their sessions."""

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None:
        """Jobs of sessions were received, in this order."""
        ...

    async def begin(self, run: RunInfo, policy: DoubleTexting, now_ms: int) -> SessionState | ResultError | None:
        """Returns when it is the run's turn: what its session holds, None where none is kept, or why it may not begin."""
        ...


class NoSessions:
    """Each run stands alone."""

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None:
        pass

    async def begin(self, run: RunInfo, policy: DoubleTexting, now_ms: int) -> None:
        pass


class QueuedSessions:
    """One run of a session at a time, over all reasoners."""

    def __init__(self, queue: Queue, cancelled: CancelledRuns, *, every_s: float = _EVERY_S) -> None:
        self._queue = queue
        self._cancelled = cancelled
        self._every_s = every_s
        self._waiting: dict[Place, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def arrive_all(self, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            await self._queue.arrive_all(arrivals)

    async def begin(self, run: RunInfo, policy: DoubleTexting, now_ms: int) -> SessionState | ResultError:
        place = Place(run.tenant, run.session_id or "", run.run_id)
        name = (run.tenant, run.run_id)
        seconds = (run.deadline_ms - now_ms) / 1000
        if name in self._cancelled:
            return CANCELLED
        try:
            if seconds > 0:  # else it is too late for a turn, and the run says so
                seconds = min(seconds, _REJECT_AFTER_S) if policy == "reject" else seconds
                await within(seconds, self._turn(place), partial(self._cancelled.watch, name))
        except TimeIsUp:
            return CANCELLED if name in self._cancelled else await self._busy(place)
        if policy == "reject" and await self._queue.ended_since(place, run.started_ms):
            return await self._busy(place)
        return await self._queue.state(place)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _busy(self, place: Place) -> ResultError:
        await self._queue.leave(place)
        return ResultError(type="session_busy", message="another run of its session was under way", retryable=True)

    async def _turn(self, place: Place) -> None:
        if await self._queue.first([place]):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = turn
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="sessions")
        try:
            await turn
        finally:
            del self._waiting[place]

    async def _ask(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._every_s)
            try:
                first = await self._queue.first(list(self._waiting)) if self._waiting else set()
            except DependencyUnavailable:
                continue  # nobody begins while nobody knows
            for place in first:
                if (turn := self._waiting.get(place)) is not None and not turn.done():
                    turn.set_result(None)
