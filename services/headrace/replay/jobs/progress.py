"""How far a job is, at what rate, and what it has spent: told by the work, read by whoever shows or keeps it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from headrace.replay.pace import Pacer


class Progress:
    """``phase`` says what the work is at; before it counts anything, ``total`` is 0."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pacer = Pacer(0)
        self._pace = self._pacer.note(clock(), 0)
        self.phase = "planning"
        self.spent_usd = 0.0

    def of(self, total: int) -> None:
        """So much is to do."""
        self._pacer = Pacer(total)
        self._pace = self._pacer.note(self._clock(), 0)

    def told(self, passed: int, spent_usd: float = 0.0, total: int | None = None) -> None:
        """So much is done, and paid; ``total``: of so much by now."""
        if total is not None:
            self._pacer.total = total
        self._pace = self._pacer.note(self._clock(), passed)
        self.spent_usd = spent_usd

    def facts(self) -> dict[str, Any]:
        """As JSON: ``passed`` of ``total``, ``rate`` a second of late, ``eta_s`` None while nothing moves."""
        pace = self._pace
        eta = None if pace.eta_s is None else round(pace.eta_s, 1)
        return {
            "phase": self.phase,
            "passed": pace.done,
            "total": pace.total,
            "rate": round(pace.rate, 1),
            "eta_s": eta,
            "spent_usd": self.spent_usd,
        }
