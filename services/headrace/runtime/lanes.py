"""The scheduler: a FIFO lane per key, one record of a lane in flight, thousands of lanes at once.

Two classes of lanes: *continuations* (what is already started and paid for) run before *new work*, which gets only the room that
is left; a reserve is kept for continuations so that a backlog of new work can't starve them. Counts are bounded, and a
bound makes a lane wait, never drops it. A record that waits for a retry keeps its lane and gives back its place in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
LaneKey = Hashable


@dataclass(slots=True)
class _Lane(Generic[T]):
    items: deque[T] = field(default_factory=deque)
    new_work: bool = False
    busy: bool = False  # its head is in flight, waits for a retry, or is queued to start
    running: bool = False  # its head is in flight


class Lanes(Generic[T]):
    """``max_in_flight`` bounds new work; continuations may use a quarter more.

    A lane's key must be unique to one assignment of its partition: a lane is forgotten with it and never comes back.
    """

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self._hard_limit = max_in_flight + max(1, max_in_flight // 4)
        self._lanes: dict[LaneKey, _Lane[T]] = {}
        self._continuations: deque[LaneKey] = deque()
        self._new_work: deque[LaneKey] = deque()
        self._refused: list[tuple[deque[LaneKey], LaneKey]] = []
        self.in_flight = 0
        self.waiting = 0  # received and not in flight, those between two attempts included

    def push(self, lane: LaneKey, item: T, *, new_work: bool) -> None:
        """Add a record at the end of its lane."""
        entry = self._lanes.get(lane)
        if entry is None:
            entry = self._lanes[lane] = _Lane(new_work=new_work)
        entry.items.append(item)
        self.waiting += 1
        if not entry.busy:
            self._queue(lane, entry)

    def startable(self, may_start: Callable[[T], bool]) -> Iterator[T]:
        """Take records into flight while there is room, continuations first.

        ``may_start`` may refuse a record for now (another bound); its lane is set aside until ``wake``.
        """
        yield from self._take(self._continuations, self._hard_limit, may_start)
        yield from self._take(self._new_work, self.max_in_flight, may_start)

    def _take(self, queue: deque[LaneKey], limit: int, may_start: Callable[[T], bool]) -> Iterator[T]:
        while queue and self.in_flight < limit:
            key = queue.popleft()
            lane = self._lanes.get(key)
            if lane is None or not lane.items:
                continue  # evicted while it was queued
            if not may_start(lane.items[0]):
                self._refused.append((queue, key))
                continue
            lane.running = True
            self.in_flight += 1
            self.waiting -= 1
            yield lane.items[0]

    def wake(self) -> None:
        """Give the lanes that ``may_start`` refused another look."""
        for queue, key in self._refused:
            queue.append(key)
        self._refused.clear()

    def release(self, lane: LaneKey) -> bool:
        """The head of ``lane`` is finished; the next one of the lane may start. True if the lane is empty and gone."""
        entry = self._lanes[lane]
        entry.items.popleft()
        entry.busy = entry.running = False
        self.in_flight -= 1
        if entry.items:
            self._queue(lane, entry)
            return False
        del self._lanes[lane]
        return True

    def park(self, lane: LaneKey) -> None:
        """The head of ``lane`` waits for another attempt: its place in flight is free, its lane is not."""
        self._lanes[lane].running = False
        self.in_flight -= 1
        self.waiting += 1

    def unpark(self, lane: LaneKey) -> None:
        """The head of ``lane`` may be tried again."""
        self._queue(lane, self._lanes[lane])

    def evict(self, lane: LaneKey) -> deque[T]:
        """Forget a lane whole, since its partition is gone; the records that it held."""
        entry = self._lanes.pop(lane)
        self.in_flight -= entry.running
        self.waiting -= len(entry.items) - entry.running
        return entry.items

    def running(self) -> Iterator[T]:
        """Records in flight."""
        return (lane.items[0] for lane in self._lanes.values() if lane.running)

    def _queue(self, lane: LaneKey, entry: _Lane[T]) -> None:
        entry.busy = True
        (self._new_work if entry.new_work else self._continuations).append(lane)
