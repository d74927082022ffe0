"""``table_select {fields}``: each row with these fields only, named as they were asked for; a missing one is null.

``top_k {k}``: the first k rows, in the order that they have.
"""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import Rows, bad_argument, checked_paths, lookup
from headrace.tools.pipeline.step import Transform


def table_select(arguments: JsonObject) -> Transform:
    fields = checked_paths(arguments["fields"])
    if not fields:
        raise bad_argument("fields must name at least one field")

    def apply(rows: Rows) -> Rows:
        return [{field: lookup(row, field) for field in fields} for row in rows]

    return apply


def top_k(arguments: JsonObject) -> Transform:
    k = int(arguments["k"])

    def apply(rows: Rows) -> Rows:
        return rows[:k]

    return apply
