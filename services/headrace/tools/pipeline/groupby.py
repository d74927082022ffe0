"""``groupby {by, agg, field}``: one row a group, in order of first appearance: the ``by`` fields, and the aggregate
in a field named like it.

``count`` counts rows, or with ``field`` the rows that have it; the others skip nulls, and are null where nothing is
left. ``sum`` and ``avg`` take numbers, ``min`` and ``max`` numbers or strings, not both; anything else is an error,
never a guess. An empty ``by`` makes the whole table one group.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import (
    NUMBER,
    STRING,
    Row,
    StepError,
    bad_argument,
    checked_path,
    checked_paths,
    identity,
    ranks,
)
from headrace.tools.pipeline.step import Transform
from headrace.tools.pipeline.table import Table

Aggregate = Callable[[list[Any], str], Any]
_INT64: Final = 2**63
_NO_BOOLEANS: Final = frozenset({str, int, float, type(None)})
_NO_NUMBERS: Final = frozenset({str, bool, type(None)})


def groupby(arguments: JsonObject) -> Transform:
    by = checked_paths(arguments["by"])
    agg = str(arguments["agg"])
    field = checked_path(arguments["field"]) if "field" in arguments else None
    if field is None and agg != "count":
        raise bad_argument(f"field is required for the aggregate {agg}")
    if agg in by:
        raise bad_argument(
            f"a field to group by is called {agg}, as the aggregate is: rename it with another step or tool"
        )

    def apply(table: Table) -> Table:
        members = range(len(table)) if field is None else table.column(field)
        groups = _grouped([table.column(name) for name in by], by, members) if by else [({}, list(members))]
        return Table([keys | {agg: _aggregate(values, agg, field)} for keys, values in groups])

    return apply


def _grouped(columns: list[list[Any]], by: list[str], members: Iterable[Any]) -> list[tuple[Row, list[Any]]]:
    """The ``by`` values of each group, as its first row has them, and its members."""
    keys = list(map(_keys, columns))
    groups: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)  # it keeps the first of equal keys
    for key, member in zip(zip(*keys, strict=True), members, strict=True):
        groups[key].append(member)
    if all(key is values for key, values in zip(keys, columns, strict=True)):
        return [(dict(zip(by, key, strict=True)), found) for key, found in groups.items()]
    # keeps the value that was put last: the first row's
    firsts = dict(zip(zip(*map(reversed, keys), strict=True), zip(*map(reversed, columns), strict=True), strict=True))
    return [(dict(zip(by, firsts[key], strict=True)), found) for key, found in groups.items()]


def _keys(values: list[Any]) -> list[Any]:
    """Hashable, and equal exactly where the JSON values are: the values themselves, unless Python would take true for 1."""
    kinds = set(map(type, values))
    return values if kinds <= _NO_BOOLEANS or kinds <= _NO_NUMBERS else list(map(identity, values))


def _aggregate(members: list[Any], agg: str, field: str | None) -> Any:
    if field is None:
        return len(members)
    return _AGGREGATES[agg]([value for value in members if value is not None], field)


def _count(values: list[Any], field: str) -> int:
    return len(values)


def _sum(values: list[Any], field: str) -> int | float | None:
    _require(values, field, "sum", (NUMBER,))
    if not values:
        return None
    if all(isinstance(value, int) for value in values):
        return _bounded(sum(values), field)
    return _float_sum(values, field)


def _avg(values: list[Any], field: str) -> float | None:
    _require(values, field, "avg", (NUMBER,))
    return _float_sum(values, field) / len(values) if values else None


def _min(values: list[Any], field: str) -> Any:
    _require(values, field, "min", (NUMBER, STRING))
    return min(values, default=None)


def _max(values: list[Any], field: str) -> Any:
    _require(values, field, "max", (NUMBER, STRING))
    return max(values, default=None)


_AGGREGATES: Final[dict[str, Aggregate]] = {"count": _count, "sum": _sum, "avg": _avg, "min": _min, "max": _max}


def _require(values: list[Any], field: str, agg: str, kinds: tuple[int, ...]) -> None:
    found = ranks(values)
    if not found <= set(kinds) or len(found) > 1:
        names = "numbers" if kinds == (NUMBER,) else "numbers or strings, not both"
        raise StepError(f"{agg} needs the field {field!r} to hold {names}; filter the other rows out first")


def _bounded(total: int, field: str) -> int:
    if not -_INT64 <= total < _INT64:
        raise StepError(f"the sum of {field!r} does not fit into 64 bits")
    return total


def _float_sum(values: list[Any], field: str) -> float:
    try:
        return math.fsum(values)  # exactly rounded, so the order of the rows does not matter
    except OverflowError:
        raise StepError(f"the sum of {field!r} is too large for a number") from None
