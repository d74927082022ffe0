"""When a record is tried again, and when it is given up.

A failed record waits in its lane: only its key waits with it. A transient failure is tried ``attempts`` times with exponential
back-off and jitter, then dead-lettered. A dependency that is away is no record's fault: it is waited for without a bound.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from headrace.messages.errors import BadMessage, DependencyUnavailable, TransientError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``first_s`` and ``longest_s`` are seconds before jitter (0.5-1.0 of it)."""

    attempts: int = 5
    first_s: float = 0.1
    longest_s: float = 10.0

    def delay(self, error: Exception, attempt: int, rng: random.Random) -> float | None:
        """Seconds until the next attempt after failed attempt number ``attempt`` (from 1), or None to give up."""
        if isinstance(error, BadMessage):
            return None
        if attempt >= self.attempts and not isinstance(error, DependencyUnavailable):
            return None
        backoff = min(self.longest_s, self.first_s * 2.0 ** min(attempt - 1, 30)) * rng.uniform(0.5, 1.0)
        floor = error.retry_after if isinstance(error, TransientError) else None
        return max(backoff, floor or 0.0)


@dataclass(slots=True)
class DeadLetterLimit:
    """Stops a processor that dead-letters too much: a bad deploy must not drain a topic into its DLQ.

    Trips when at least ``least`` of the last ``window`` finished records were dead-lettered, and more than ``ratio`` of them.
    """

    window: int = 1_000
    least: int = 100
    ratio: float = 0.5
    _last: deque[bool] = field(default_factory=deque)
    _dead: int = 0

    def note(self, *, dead: bool) -> bool:
        """Count a finished record; True when the limit is reached."""
        self._last.append(dead)
        self._dead += dead
        if len(self._last) > self.window:
            self._dead -= self._last.popleft()
        return self._dead >= self.least and self._dead > self.ratio * len(self._last)
