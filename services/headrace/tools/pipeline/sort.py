"""``table_sort {field, order}``: stable; ``order`` is asc (default) or desc.

Types never interleave: numbers, then strings (by code point), then booleans (false first), then lists and objects
(kept in their order), and null or missing last. ``desc`` turns the order round within numbers, strings and booleans;
nulls stay last.
"""

from __future__ import annotations

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import CONTAINER, NULL, Rows, checked_path, rank, reader
from headrace.tools.pipeline.step import Transform


def table_sort(arguments: JsonObject) -> Transform:
    read = reader(checked_path(arguments["field"]))
    descending = arguments.get("order", "asc") == "desc"

    def apply(rows: Rows) -> Rows:
        buckets: list[Rows] = [[] for _ in range(NULL + 1)]
        for row in rows:
            buckets[rank(read(row))].append(row)
        for kind, bucket in enumerate(buckets):
            if kind < CONTAINER:
                bucket.sort(key=read, reverse=descending)  # reverse keeps it stable
        return [row for bucket in buckets for row in bucket]

    return apply
