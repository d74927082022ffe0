"""``join {left, right, on}``: an inner join. Each side is a ``cas://`` reference, or, left out, the rows of the step before.

Two rows match where their values of ``on`` are the same JSON value; null, or no such field, matches nothing. Rows come
in the order of the left side, and for each of them in the order of the right one. A row has the fields of both: ``on``
once, and where both sides have a field of one name, the right side's is called ``right_<name>``. If that name is taken
as well, the join is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import NULL, Row, Rows, StepError, bad_argument, checked_path, identity, reader

PREFIX: Final = "right_"


@dataclass(frozen=True, slots=True)
class Join:
    """A checked ``join`` step; a side that is None is the rows so far."""

    left: str | None
    right: str | None
    on: str

    @property
    def is_source(self) -> bool:
        """Whether it takes no rows of a step before."""
        return self.left is not None and self.right is not None


def join(arguments: JsonObject) -> Join:
    left, right = arguments.get("left"), arguments.get("right")
    if left is None and right is None:
        raise bad_argument("needs left or right; the one left out is the rows of the step before")
    return Join(left, right, checked_path(arguments["on"]))


def joined(left: Rows, right: Rows, on: str, *, max_rows: int, max_bytes: int) -> Rows:
    """The rows of both. Raises ``StepError``, before any row is made, where there would be too many or too much of them."""
    read = reader(on)
    matches: dict[tuple[int, Any], Rows] = {}
    for row in right:
        if (key := identity(read(row)))[0] != NULL:
            matches.setdefault(key, []).append(row)
    pairs = [(row, found) for row in left if (found := matches.get(identity(read(row))))]
    _require_room(pairs, max_rows, max_bytes)
    renamed = _renamed(left, right, on)
    return [
        row | {renamed.get(name, name): value for name, value in other.items() if name != on}
        for row, found in pairs
        for other in found
    ]


def _renamed(left: Rows, right: Rows, on: str) -> dict[str, str]:
    """What those fields of the right side are called that the left side has too."""
    ours, theirs = set[str]().union(*left), set[str]().union(*right)
    renamed = {name: PREFIX + name for name in theirs & ours if name != on}
    if taken := sorted(set(renamed.values()) & (ours | theirs)):
        raise StepError(f"both sides have a field of one name, and {taken[0][:64]!r} is taken too: select fields first")
    return renamed


def _require_room(pairs: list[tuple[Row, Rows]], max_rows: int, max_bytes: int) -> None:
    """A few large rows that match many others are more than memory holds."""
    count = sum(len(found) for _, found in pairs)
    if count > max_rows:
        raise StepError(f"{count} joined rows are more than the {max_rows} that a pipeline takes", type_="too_large")
    sizes: dict[int, int] = {}  # of the matching rows of the right side together
    size = 0
    for row, found in pairs:
        if id(found) not in sizes:
            sizes[id(found)] = len(orjson.dumps(found))
        size += sizes[id(found)] + len(found) * len(orjson.dumps(row))
    if size > max_bytes:
        raise StepError(
            f"the joined rows have {size} bytes, more than {max_bytes}: select fields first", type_="too_large"
        )
