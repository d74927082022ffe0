"""``table_select {fields}``: each row with these fields only, named as they were asked for; a missing one is null.

``top_k {k}``: the first k rows, in the order that they have.
"""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import Rows, bad_argument, checked_paths, reader
from headrace.tools.pipeline.step import Transform


def table_select(arguments: JsonObject) -> Transform:
    fields = checked_paths(arguments["fields"])
    if not fields:
        raise bad_argument("fields must name at least one field")
    if not any("." in field for field in fields):
        return lambda rows: [{field: row.get(field) for field in fields} for row in rows]
    readers = [(field, reader(field)) for field in fields]

    def apply(rows: Rows) -> Rows:
        return [{field: read(row) for field, read in readers} for row in rows]

    return apply


def top_k(arguments: JsonObject) -> Transform:
    k = int(arguments["k"])

    def apply(rows: Rows) -> Rows:
        return rows[:k]

    return apply
