"""A table between two steps: rows, which of them are left, and in which order.

Rows are Python objects all over memory. What costs is to make new ones, and to go through them in another order than the one they
were read in. Hence both are put off until somebody asks for the rows: a ``groupby`` behind a filter, a sort and a select reads
the columns that it needs from the rows as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

from headrace.tools.pipeline.rows import Rows, column, reader

_KEPT_COLUMNS: Final = 4  # a condition may name fifty fields, and a column costs eight bytes a row
_FEW: Final = 4  # where less than a quarter of the rows is left, the others are let go


class Table:
    """``rows`` are never changed, and belong to whoever else has them too."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._places: Sequence[int] = range(len(rows))
        self._fields: Sequence[str] | None = None  # what each row is narrowed to; None: as it is
        self._columns: dict[str, list[Any]] = {}  # of all rows, by place

    def __len__(self) -> int:
        return len(self._places)

    def rows(self) -> Rows:
        rows = self._taken(self._rows)
        return rows if self._fields is None else _selected(rows, self._fields)

    def column(self, path: str) -> list[Any]:
        """The values of one field, row by row; ``path`` as for ``lookup``."""
        if self._fields is not None and path not in self._fields:
            return column(self.rows(), path) if "." in path else [None] * len(self)
        values = self._columns.get(path)
        if values is None:
            values = column(self._rows, path)
            if len(self._columns) < _KEPT_COLUMNS:
                self._columns[path] = values
        return self._taken(values)

    def kept(self, marks: Sequence[bool]) -> Table:
        """The rows that are marked."""
        return self._of(list(compress(self._places, marks)))

    def ordered(self, order: Sequence[int]) -> Table:
        """Each row that ``order`` names by its index, in that order."""
        return self._of(list(map(self._places.__getitem__, order)))

    def first(self, count: int) -> Table:
        return self._of(self._places[:count])

    def narrowed(self, fields: Sequence[str]) -> Table:
        """The same rows with these fields only."""
        if self._fields is not None:
            return Table(self.rows()).narrowed(fields)
        table = self._of(self._places)
        table._fields = fields
        return table

    def _of(self, places: Sequence[int]) -> Table:
        table = Table(self._rows)
        table._places, table._fields, table._columns = places, self._fields, self._columns
        return table if len(places) * _FEW >= len(self._rows) else Table(table.rows())

    def _taken(self, values: list[Any]) -> list[Any]:
        """Of what is by place, what is left."""
        return (
            values
            if isinstance(self._places, range) and len(self) == len(values)
            else list(map(values.__getitem__, self._places))
        )


def _selected(rows: Rows, fields: Sequence[str]) -> Rows:
    if not any("." in field for field in fields):
        return [{field: row.get(field) for field in fields} for row in rows]
    readers = [(field, reader(field)) for field in fields]
    return [{field: read(row) for field, read in readers} for row in rows]
