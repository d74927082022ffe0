"""How far a rebuild is, how fast it goes, and when it will be there. Pure; the clock is an argument.

The end is a place, not a number: a partition is done when its group has passed the last record of the plan. Offsets have gaps where
transactions left their markers, so how many records that was is in proportion to the offsets passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headrace.replay.census import Census
from headrace.replay.plan import Leg
from headrace.replay.start import Partition

_WINDOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """``done`` of ``total`` records; ``rate`` in records a second of late, ``eta_s`` None while nothing moves."""

    done: int
    total: int
    rate: float
    eta_s: float | None


def behind(census: Census, committed: Mapping[Partition, int]) -> dict[Partition, int]:
    """Last records that the group has not passed yet, by partition."""
    return {where: last for where, last in census.last.items() if committed.get(where, 0) <= last}


def done(legs: Mapping[Partition, Leg], census: Census, committed: Mapping[Partition, int]) -> int:
    """About how many of the census's records the group has passed."""
    total = 0
    for where, last in census.last.items():
        start, at = legs[where].start, committed.get(where, 0)
        share = min(1.0, max(0, at - start) / (last + 1 - start))
        total += int(census.records[where] * share)
    return total


@dataclass(slots=True)
class Pacer:
    """Turns sums over time into a pace."""

    total: int
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float, passed: int) -> Pace:
        self._seen.append((now, passed))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        rate = (passed - before) / (now - then) if now > then else 0.0
        return Pace(passed, self.total, rate, (self.total - passed) / rate if rate > 0 else None)
