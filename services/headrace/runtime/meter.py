"""Counting what is read from Kafka for one piece of work, by whichever readers take part in it.

with metered() as read:
    ...  # every reader that is made in here, also by tasks that begin in here, counts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Final

Headers = Iterable[tuple[str, bytes | None]]


class Meter:
    """Bytes of the records that were received, by logical topic: keys, values and headers, uncompressed. Any thread may add."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._topics: Counter[str] = Counter()

    def add(self, topic: str, size: int) -> None:
        with self._lock:
            self._topics[topic] += size

    def topics(self) -> dict[str, int]:
        with self._lock:
            return dict(sorted(self._topics.items()))


_CURRENT: Final[ContextVar[Meter | None]] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """What readers that are made inside receive is counted, also after the exit."""
    meter = Meter()
    token = _CURRENT.set(meter)
    try:
        yield meter
    finally:
        _CURRENT.reset(token)


def meter() -> Meter | None:
    """The one that a reader which is made now adds to."""
    return _CURRENT.get()


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record."""
    return len(key or b"") + len(value or b"") + sum(len(name) + len(held or b"") for name, held in headers)
