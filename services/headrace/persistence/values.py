"""Values of records as values of columns: times that may be nonsense, texts that may be long or hold NUL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.postgres.json import storable_text
from headrace.runtime.api import Context

SHORT: Final = 512  # characters of a name; it may be in an index
LONG: Final = 2_048  # characters of other texts
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(ms: int) -> datetime | None:
    """Epoch milliseconds as a time; None for 0 (not known) and what no calendar holds."""
    try:
        return _EPOCH + timedelta(milliseconds=ms) if ms > 0 else None
    except OverflowError:
        return None


def parsed_time(text: str | None) -> datetime | None:
    """An RFC 3339 time; None if it is not one. Without an offset it is read as UTC."""
    try:
        time = datetime.fromisoformat(text or "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def recorded_at(context: Context) -> datetime:
    """The record's timestamp; the epoch if it has none."""
    return time_of(context.timestamp_ms) or _EPOCH


def text(value: str | None, limit: int = SHORT) -> str | None:
    """``value`` as a column: bounded, storable, None if empty."""
    return storable_text(value[:limit]) if value else None
