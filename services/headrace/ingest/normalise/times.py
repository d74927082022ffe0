"""Times of strangers, as RFC 3339 in UTC with ``Z``. A canonical event's time sorts as text within one precision."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def rfc3339(value: Any) -> str | None:
    """``value`` in canonical form, or None if it is no time: RFC 3339 text, or a number of seconds since 1970.

    The year 1 is Go's zero time (Alertmanager's "not yet") and counts as no time. Fractions are kept to microseconds.
    """
    moment = _parse(value)
    if moment is None or moment.year == 1:
        return None
    return moment.isoformat().replace("+00:00", "Z")


def from_millis(value: int) -> str:
    """Epoch milliseconds, such as a record's timestamp. A record without one (-1) is taken as 1970."""
    seconds, millis = divmod(max(value, 0), 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=millis * 1000).isoformat().replace("+00:00", "Z")


def _parse(value: Any) -> datetime | None:
    try:
        if isinstance(value, str) and (match := _RFC3339.fullmatch(value)):
            fraction = match[1]
            text = value.replace(fraction, fraction[:7].ljust(7, "0"), 1) if fraction else value
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
