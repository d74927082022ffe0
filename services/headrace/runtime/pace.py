"""How long to wait between two transactions: not at all where little happens, longer the more there is to do."""

from __future__ import annotations

from typing import Final

_BUSY: Final = 1_000.0  # records a second from which on the whole interval is kept
_WEIGHT: Final = 0.3  # of the newest one in the average


class Pace:
    """``interval_s`` is the longest pause; in none are more than ``most`` records to come. Clock readings are in seconds."""

    def __init__(self, interval_s: float, most: int) -> None:
        self._interval_s = interval_s
        self._most = most
        self._rate = 0.0  # records a second, a moving average
        self._last = 0.0  # when the one before was over

    def after(self, records: int, now: float) -> float:
        """Seconds to wait after ``records``, which are through now."""
        elapsed = max(now - self._last, 0.001)
        self._rate += _WEIGHT * (records / elapsed - self._rate)
        self._last = now
        return min(self._interval_s * min(1.0, self._rate / _BUSY), self._most / max(self._rate, 1.0))
