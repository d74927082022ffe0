"""One line for each run, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_UNKNOWN_S = 30.0


class Progress:
    """Estimates from how long the same run took earlier in this session, or from the mean of all that have been."""

    def __init__(self) -> None:
        self._took: dict[str, float] = {}
        self._waiting: list[str] = []
        self._total = 0

    def expect(self, names: list[str]) -> None:
        """These runs are next."""
        self._waiting, self._total = list(names), len(names)

    @contextmanager
    def run(self, name: str) -> Iterator[list[str]]:
        """Prints what the block puts into the list, when it ends."""
        begun, said = time.monotonic(), list[str]()
        self._waiting.remove(name)
        done = self._total - len(self._waiting)
        try:
            yield said
        finally:
            self._took[name] = time.monotonic() - begun
            mean = sum(self._took.values()) / len(self._took)
            left = sum(self._took.get(one, mean or _UNKNOWN_S) for one in self._waiting)
            text = "; ".join(said) or "interrupted"
            print(f"[{done}/{self._total}] {name}: {text} ({_minutes(left)} left)", flush=True)


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
