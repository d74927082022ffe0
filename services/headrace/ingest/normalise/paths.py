"""Reading a stranger's JSON by dotted path, never failing: what is not there, or not of the wanted kind, is None."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from headrace.ingest.normalise.times import rfc3339


def dig(value: Any, path: str) -> Any:
    """The value at ``path`` (``repository.owner.login``) through objects, else None."""
    for key in _keys(path):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


@lru_cache(1_024)  # bounded, since some paths begin with a sender's name of an event
def _keys(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def text(value: Any, path: str) -> str | None:
    """Non-empty text at ``path``; whole numbers count as text, since ids are often numbers."""
    found = dig(value, path)
    if isinstance(found, str):
        return found or None
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else None


def first_text(value: Any, paths: Iterable[str]) -> str | None:
    for path in paths:
        if found := text(value, path):
            return found
    return None


def first_time(value: Any, paths: Iterable[str]) -> str | None:
    for path in paths:
        if found := rfc3339(dig(value, path)):
            return found
    return None
