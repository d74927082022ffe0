"""``table_select {fields}``: each row with these fields only, named as they were asked for; a missing one is null.

``top_k {k}``: the first k rows, in the order that they have.
"""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import bad_argument, checked_paths
from headrace.tools.pipeline.step import Transform


def table_select(arguments: JsonObject) -> Transform:
    fields = checked_paths(arguments["fields"])
    if not fields:
        raise bad_argument("fields must name at least one field")
    return lambda table: table.narrowed(fields)


def top_k(arguments: JsonObject) -> Transform:
    k = int(arguments["k"])
    return lambda table: table.first(k)
