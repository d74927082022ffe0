"""The tracker of one partition: what was received, what of it is finished, and so what to commit.

It advances over *received* offsets, not over integers: transactions leave control records, so offsets have gaps. It owns no
records and knows neither lanes nor transactions.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from headrace.messages.errors import FatalError
from headrace.runtime import offsetmap


class Tracker:
    """Starts from a committed offset and its map. All offsets are of one partition, received in ascending order.

    Raises:
        CorruptOffsetMap: the metadata is damaged.
    """

    def __init__(self, committed: int, metadata: str | None = None) -> None:
        self._restored = offsetmap.decode(committed, metadata)
        self._holes = deque(sorted(self._restored.unfinished))  # of the restored map, not received yet
        self._unfinished: OrderedDict[int, None] = OrderedDict()
        self._next = committed  # one past the last received offset
        self._high = self._restored.high  # last finished offset
        self._committed = committed

    @property
    def position(self) -> int:
        """First offset that may still have to run: what a commit says."""
        if self._unfinished:
            return next(iter(self._unfinished))
        return self._holes[0] if self._holes else max(self._next, self._restored.high + 1)

    @property
    def unfinished(self) -> int:
        """How many received records are unfinished."""
        return len(self._unfinished)

    def receive(self, offset: int) -> bool:
        """Note a received record; False if there is nothing to do for it (finished before a restart, or received already)."""
        if offset < self._next:
            return False
        self._next = offset + 1
        while self._holes and self._holes[0] <= offset:
            self._holes.popleft()
        if self._restored.finished(offset):
            return False
        self._unfinished[offset] = None
        return True

    def reach(self, offset: int) -> None:
        """Everything before ``offset`` was received: what lies between are control records, and nothing waits for them."""
        if offset > self._next:
            self._next = offset
            while self._holes and self._holes[0] < offset:
                self._holes.popleft()

    def may_start(self, offset: int) -> bool:
        """Whether the map is sure to fit if ``offset`` finishes before everything below it. The first unfinished always may."""
        if offset - self._committed <= offsetmap.MAX_SPAN:  # mostly: what is committed is never past the position
            return True
        span = offset - self.position
        if span <= offsetmap.MAX_SPAN:
            return True
        for below, other in enumerate(self._unfinished):
            if other >= offset:
                return True
            if not offsetmap.fits(span, below + 1):
                return False
        return True

    def finish(self, offset: int) -> None:
        """Note that ``offset`` is finished: it will be part of the next commit."""
        if offset not in self._unfinished:
            raise FatalError(f"offset {offset} finished twice or never received")
        del self._unfinished[offset]
        self._high = max(self._high, offset)

    def commit_point(self) -> tuple[int, str]:
        """``(offset, metadata)`` for a commit of everything finished so far."""
        base = self.position
        if base < self._committed:
            raise FatalError(f"a commit would go back from {self._committed} to {base}")
        holes = []
        for offset in self._unfinished:
            if offset > self._high:
                break
            holes.append(offset)
        return base, offsetmap.encode(base, self._high, [*holes, *self._holes])

    def committed(self, offset: int) -> None:
        """A commit at ``offset`` was acknowledged."""
        self._committed = offset
