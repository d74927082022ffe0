"""What was asked: the newest requests whole, and counts of all of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "cookie"})


@dataclass(frozen=True, slots=True)
class Logged:
    """One request. ``raw`` is the body as received; credentials in ``headers`` (lower-case names) are redacted.

    ``conversation`` is the same for all requests that share wire, model, system text and first user message; ``rule`` is the name
    (or position) of the rule that answered.
    """

    wire: str
    model: str
    conversation: str
    turn: int
    rule: str
    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes


class RequestLog:
    """Keeps the newest ``keep`` requests; ``total`` and ``by_conversation`` count all, as long as ``keep`` is not 0."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._newest: deque[Logged] = deque(maxlen=keep)
        self.total = 0
        self.by_conversation: Counter[str] = Counter()

    def add(self, logged: Logged) -> None:
        self.total += 1
        if self._keep:
            self._newest.append(logged)
            self.by_conversation[logged.conversation] += 1

    def clear(self) -> None:
        self.total = 0
        self._newest.clear()
        self.by_conversation.clear()

    def __iter__(self) -> Iterator[Logged]:
        return iter(tuple(self._newest))

    def __len__(self) -> int:
        return len(self._newest)

    def __getitem__(self, index: int) -> Logged:
        return self._newest[index]


def redact_headers(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Readable headers without credentials."""
    decoded = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    return {name: "[redacted]" if name in _SECRET_HEADERS else value for name, value in decoded}
