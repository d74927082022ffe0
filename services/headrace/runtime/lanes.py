"""The scheduler: a FIFO lane per key, one record of a lane in flight, thousands of lanes at once.

Two classes of lanes: *continuations* (what is already started and paid for) run before *new work*, which gets only the room that
is left; a reserve is kept for continuations so that a backlog of new work can't starve them. Counts are bounded, and a
bound makes a lane wait, never drops it. A record that waits for a retry keeps its lane and gives back its place in flight.

A lane is no object of its own: each record knows the one that follows it in its lane, each partition the last record of each of its
lanes. So a record costs two dictionary operations, and a partition that goes takes all its lanes along at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar


@dataclass(eq=False, slots=True)
class Share:
    """What one partition has in the lanes: the last record of each lane, and how many records there are."""

    last: dict[Hashable, Any] = field(default_factory=dict)
    waiting: int = 0  # received and not in flight, those between two attempts included
    running: int = 0
    ended: bool = False  # the partition is gone, and its records with it


class Queued(Protocol):
    """A record as the lanes see it. ``lane`` is unique among the lanes of its partition."""

    lane: Hashable
    follower: Any  # the record after it in its lane
    new_work: bool

    @property
    def tenancy(self) -> Share: ...


Q = TypeVar("Q", bound=Queued)


class Lanes(Generic[Q]):
    """``max_in_flight`` bounds new work; continuations may use a quarter more."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self._hard_limit = max_in_flight + max(1, max_in_flight // 4)
        self._continuations: deque[Q] = deque()  # heads of lanes that may start
        self._new_work: deque[Q] = deque()
        self._refused: list[Q] = []
        self.in_flight = 0
        self.waiting = 0

    def push(self, item: Q) -> None:
        """Add a record at the end of its lane."""
        share = item.tenancy
        share.waiting += 1
        self.waiting += 1
        before = share.last.get(item.lane)
        share.last[item.lane] = item
        if before is None:
            self._queue(item)
        else:
            before.follower = item

    def startable(self, may_start: Callable[[Q], bool]) -> list[Q]:
        """Take records into flight while there is room, continuations first.

        ``may_start`` may refuse a record for now (another bound); its lane is set aside until ``wake``.
        """
        taken: list[Q] = []
        self._take(self._continuations, self._hard_limit, may_start, taken)
        self._take(self._new_work, self.max_in_flight, may_start, taken)
        return taken

    def _take(self, queue: deque[Q], limit: int, may_start: Callable[[Q], bool], taken: list[Q]) -> None:
        while queue and self.in_flight < limit:
            item = queue.popleft()
            share = item.tenancy
            if share.ended:
                continue
            if not may_start(item):
                self._refused.append(item)
                continue
            share.running += 1
            share.waiting -= 1
            self.in_flight += 1
            self.waiting -= 1
            taken.append(item)

    def wake(self) -> None:
        """Give the lanes that ``may_start`` refused another look."""
        for item in self._refused:
            self._queue(item)
        self._refused.clear()

    def release(self, item: Q) -> None:
        """``item`` is finished; the next one of its lane may start."""
        share = item.tenancy
        share.running -= 1
        self.in_flight -= 1
        if item.follower is not None:
            self._queue(item.follower)
        else:
            del share.last[item.lane]

    def park(self, item: Q) -> None:
        """``item`` waits for another attempt: its place in flight is free, its lane is not."""
        share = item.tenancy
        share.running -= 1
        share.waiting += 1
        self.in_flight -= 1
        self.waiting += 1

    def unpark(self, item: Q) -> None:
        """``item`` may be tried again."""
        self._queue(item)

    def evict(self, share: Share) -> None:
        """Forget all records of a partition that is gone."""
        self.in_flight -= share.running
        self.waiting -= share.waiting
        share.last.clear()
        share.running = share.waiting = 0

    def _queue(self, item: Q) -> None:
        (self._new_work if item.new_work else self._continuations).append(item)
