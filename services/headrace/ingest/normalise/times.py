"""Times of strangers, as RFC 3339 in UTC with ``Z``. A canonical event's time sorts as text within one precision."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LOOSE: Final = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,12})?)(?: ?(UTC|[+-]\d\d:?\d\d))?", re.ASCII)
_NUMBER: Final = re.compile(r"\d{9,13}(\.\d{1,9})?", re.ASCII)
_MILLIS: Final = 1e11  # seconds since 1970 get there in the year 5138, milliseconds got there in 1973
_NO_OFFSET: Final = timedelta(0)


def rfc3339(value: Any) -> str | None:
    """``value`` in canonical form, or None if it is no time: RFC 3339 text, or a number of seconds since 1970.

    The year 1 is Go's zero time (Alertmanager's "not yet") and counts as no time. Fractions are kept to microseconds.
    """
    try:
        if type(value) is str:
            if _is_canonical(value):
                datetime.fromisoformat(value)  # are there such a month, day and hour?
                return value if value[:4] != "0001" else None
            return _canonical(datetime.fromisoformat(value.upper())) if _RFC3339.fullmatch(value) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _canonical(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        pass
    return None


def moment(value: Any) -> str | None:
    """``rfc3339``, and what senders write instead: milliseconds since 1970, numbers as text, ``+0000``, ``UTC``, no zone at all.

    A time without a zone is taken for UTC.
    """
    return rfc3339(value) or _loose(value)


def from_millis(value: int) -> str:
    """Epoch milliseconds, such as a record's timestamp. A record without one (-1) is taken as 1970."""
    seconds, millis = divmod(max(value, 0), 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=millis * 1000).isoformat().replace("+00:00", "Z")


def _loose(value: Any) -> str | None:
    if type(value) is str:
        if _NUMBER.fullmatch(value):
            return moment(float(value))
        if match := _LOOSE.fullmatch(value):
            zone = match[2]
            offset = "Z" if zone in (None, "UTC") else f"{zone[:3]}:{zone[-2:]}"
            return rfc3339(match[1] + offset)
    if type(value) in (int, float) and value >= _MILLIS:
        return rfc3339(value / 1000)
    return None


def _is_canonical(value: str) -> bool:
    """Whether it has the form of ``2026-03-02T10:00:00Z``, as most senders write it: then it need not be written anew."""
    return len(value) == 20 and value[4] + value[7] + value[10] + value[13] + value[16] + value[19] == "--T::Z"


def _canonical(moment: datetime) -> str | None:
    if moment.utcoffset() != _NO_OFFSET:
        moment = moment.astimezone(UTC)
    return None if moment.year == 1 else moment.isoformat()[:-6] + "Z"
