"""Reading a stranger's JSON by dotted path, never failing: what is not there, or not of the wanted kind, is None."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.ingest.normalise.times import rfc3339


def dig(value: Any, path: str) -> Any:
    """The value at ``path`` (``repository.owner.login``) through objects, else None."""
    for key in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: Any, path: str) -> str | None:
    """Non-empty text at ``path``; whole numbers count as text, since ids are often numbers."""
    found = dig(value, path)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) and found else None


def first_text(value: Any, paths: Iterable[str]) -> str | None:
    return next((found for path in paths if (found := text(value, path))), None)


def first_time(value: Any, paths: Iterable[str]) -> str | None:
    return next((found for path in paths if (found := rfc3339(dig(value, path)))), None)
