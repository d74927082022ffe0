"""``parse_date {field, format?}``: the field's text or number becomes ISO 8601, in its place.

``format`` is a name (``iso8601``, which is the default; ``rfc2822``; ``unix`` and ``unix_ms`` for numbers) or a pattern of the
directives of ``strptime`` below. Names of months and days are English, whatever the locale of the process. What comes out says
no more than what went in: ``2024-10-12`` from a date alone, ``2024-10-12T10:30:00`` where no zone was given, and UTC with ``Z``
where one was; fractions of a second as far as there are any. Texts of one kind sort in the order of time.

Null, or no such field, stays null. Anything else that does not fit is an error that names the row, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import NUMBER, StepError, bad_argument, checked_path, rank, reader
from headrace.tools.pipeline.step import Transform
from headrace.tools.pipeline.table import Table

MAX_FORMAT: Final = 100  # characters
_MAX_TEXT: Final = 100  # characters of a date
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES: Final = "january|february|march|april|may|june|july|august|september|october|november|december"
_DAY_NAMES: Final = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_DIRECTIVES: Final = {
    "Y": r"(?P<Y>\d{4})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "f": r"(?P<f>\d{1,6})",
    "p": r"(?P<p>[ap]m)",
    "b": rf"(?P<b>{'|'.join(_MONTHS)})",
    "B": rf"(?P<B>{_MONTH_NAMES})",
    "a": rf"(?:{'|'.join(name[:3] for name in _DAY_NAMES.split('|'))})",
    "A": rf"(?:{_DAY_NAMES})",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
    "%": "%",
}
_TIME: Final = frozenset("HIMSfp")

Parse = Callable[[Any], str]


def parse_date(arguments: JsonObject) -> Transform:
    field = checked_path(arguments["field"])
    read, parse = reader(field), _parser(arguments.get("format", "iso8601"))

    def apply(table: Table) -> Table:
        return Table([row | {field: _read(parse, read(row), number)} for number, row in enumerate(table.rows())])

    return apply


def _read(parse: Parse, value: Any, number: int) -> str | None:
    if value is None:
        return None
    try:
        return parse(value)
    except (ValueError, OverflowError, TypeError):
        raise StepError(f"row {number} (from 0) has no date of this format: filter such rows out first") from None


def _parser(wanted: str) -> Parse:
    if named := _NAMED.get(wanted):
        return named
    if len(wanted) > MAX_FORMAT:
        raise bad_argument(f"a format has at most {MAX_FORMAT} characters")
    if "%" not in wanted:
        raise bad_argument(f"format must be one of {', '.join(_NAMED)}, or a pattern such as %Y-%m-%d")
    pattern, used = _compiled(wanted)
    return partial(_by_pattern, pattern, bool(used & _TIME))


def _compiled(wanted: str) -> tuple[re.Pattern[str], set[str]]:
    """``wanted`` as a regular expression: literals and bounded digits only, so it takes no longer than the text is."""
    pieces, used = [], set[str]()
    for literal, directive in re.findall(r"([^%]+)|%(.?)", wanted, re.DOTALL):
        if literal:
            pieces.append(re.escape(literal))
        elif directive not in _DIRECTIVES or directive in used - {"%"}:
            raise bad_argument(f"format knows %{' %'.join(_DIRECTIVES)}, each once")
        else:
            pieces.append(_DIRECTIVES[directive])
            used.add(directive)
    if not (used >= {"Y", "d"} and len(used & {"m", "b", "B"}) == 1):
        raise bad_argument("format needs a year (%Y), one month (%m, %b or %B) and a day (%d)")
    if ("I" in used) != ("p" in used) or {"H", "I"} <= used or (used & set("MSfz") and not used & set("HI")):
        raise bad_argument("format needs %H, or %I with %p, before smaller units and a zone")
    return re.compile("".join(pieces), re.IGNORECASE | re.ASCII), used


def _by_pattern(pattern: re.Pattern[str], timed: bool, value: Any) -> str:
    found = pattern.fullmatch(_text(value))
    if found is None:
        raise ValueError
    part = found.groupdict()
    month = int(part["m"]) if "m" in part else 1 + _MONTHS.index((part.get("b") or part["B"])[:3].lower())
    day = date(int(part["Y"]), month, int(part["d"]))
    if not timed:
        return day.isoformat()
    micros = int((part.get("f") or "0").ljust(6, "0"))
    minute, second = int(part.get("M") or 0), int(part.get("S") or 0)
    return _iso(datetime(day.year, day.month, day.day, _hour(part), minute, second, micros, _zone(part.get("z"))))


def _hour(part: dict[str, str | Any]) -> int:
    if "H" in part:
        return int(part["H"])
    hour = int(part["I"])
    if not 1 <= hour <= 12:
        raise ValueError
    return hour % 12 + (12 if part["p"].lower() == "pm" else 0)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in "Zz":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _iso8601(value: Any) -> str:
    text = _text(value)
    if len(text) <= len("2024-W42-6"):
        return date.fromisoformat(text).isoformat()
    return _iso(datetime.fromisoformat(text))


def _rfc2822(value: Any) -> str:
    return _iso(parsedate_to_datetime(_text(value)))


def _unix(scale: int, value: Any) -> str:
    if rank(value) != NUMBER:
        raise ValueError
    return _iso(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(value * (1_000_000 // scale))))


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError
    return value.strip()


def _iso(moment: datetime) -> str:
    if moment.tzinfo is None:
        return moment.isoformat()
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


_NAMED: Final[dict[str, Parse]] = {
    "iso8601": _iso8601,
    "rfc2822": _rfc2822,
    "unix": partial(_unix, 1),
    "unix_ms": partial(_unix, 1_000),
}
