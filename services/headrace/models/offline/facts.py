"""What the rules read: a canonical event through JMESPath, and helpers that all rule tables share.

Whatever is read came from outside: it is matched against fixed patterns and quoted in bounded, single-line pieces, nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jmespath
from jmespath.parser import ParsedResult

from headrace.observe.logging import redact_text

REMARK: Final = "[offline rules, no model] "
RISKS: Final = ("low", "medium", "high", "critical")
_MAX_SCANNED: Final = 20_000
_STEERING: Final = re.compile(
    r"\b(ignore|disregard|forget)\b.{0,40}\b(instruction|rule|prompt|above)|\byou are now\b|\bsystem prompt\b",
    re.I | re.S,
)

Table = Sequence[tuple[str, str]]  # (what it means, pattern); the first that matches counts


@lru_cache(maxsize=256)
def _path(expression: str) -> ParsedResult:
    return jmespath.compile(expression)


@dataclass(frozen=True, slots=True)
class Facts:
    """An event as JSON. Every reader gives its empty value for what is missing or of another kind."""

    event: dict[str, Any]

    def get(self, path: str) -> Any:
        return _path(path).search(self.event)

    def text(self, *paths: str) -> str:
        """The first non-empty text among ``paths``, whole."""
        return next((value for path in paths if isinstance(value := self.get(path), str) and value), "")

    def quote(self, *paths: str, limit: int = 120) -> str:
        """The same on one line, bounded, without what looks like a credential."""
        return quote(self.text(*paths), limit)

    def number(self, path: str) -> float:
        value = self.get(path)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0

    def texts(self, path: str) -> list[str]:
        value = self.get(path)
        return [item for item in value if isinstance(item, str) and item] if isinstance(value, list) else []

    def is_true(self, path: str) -> bool:
        return self.get(path) is True


def quote(text: str, limit: int = 120) -> str:
    line = redact_text(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_match(table: Table, text: str, default: str) -> str:
    """What the first row that occurs in ``text`` means."""
    return next((meaning for meaning, pattern in table if _found(pattern, text)), default)


def all_matches(table: Table, text: str) -> list[str]:
    return [meaning for meaning, pattern in table if _found(pattern, text)]


def is_steering(text: str) -> bool:
    """Whether ``text`` reads like an attempt to instruct whoever processes it."""
    return _STEERING.search(text[:_MAX_SCANNED]) is not None


def shift(risk: str, steps: int) -> str:
    """``risk`` raised (or lowered) by ``steps``, within the scale."""
    return RISKS[max(0, min(len(RISKS) - 1, RISKS.index(risk) + steps))]


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text[:_MAX_SCANNED], re.I) is not None
