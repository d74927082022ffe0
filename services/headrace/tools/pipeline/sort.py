"""``table_sort {field, order}``: stable; ``order`` is asc (default) or desc.

Types never interleave: numbers, then strings (by code point), then booleans (false first), then lists and objects
(kept in their order), and null or missing last. ``desc`` turns the order round within numbers, strings and booleans;
nulls stay last.
"""

from __future__ import annotations

from typing import Any

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import CONTAINER, checked_path, rank, ranks
from headrace.tools.pipeline.step import Transform
from headrace.tools.pipeline.table import Table


def table_sort(arguments: JsonObject) -> Transform:
    field = checked_path(arguments["field"])
    descending = arguments.get("order", "asc") == "desc"

    def apply(table: Table) -> Table:
        return table.ordered(_places(table.column(field), descending=descending))

    return apply


def _places(values: list[Any], *, descending: bool) -> list[int]:
    """Where the first row is that has to come, where the second one, and so on."""
    kinds = sorted(ranks(values))
    places: list[int] = []
    for kind in kinds:
        ours = range(len(values)) if len(kinds) == 1 else [at for at, value in enumerate(values) if rank(value) == kind]
        # reverse keeps it stable
        places += sorted(ours, key=values.__getitem__, reverse=descending) if kind < CONTAINER else ours
    return places
