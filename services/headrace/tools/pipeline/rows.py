"""Rows, their fields, and how JSON values compare.

A row is a JSON object. A field is named by its key, or by a dotted path into objects and lists (``user.login``,
``labels.0.name``); a key that is literally there wins over a path. A missing field is null. Values never compare
across types: true is not 1, "9" is not 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from headrace.messages.errors import HeadraceError

Row = dict[str, Any]
Rows = list[Row]

MAX_PATH: Final = 256  # characters
MAX_FIELDS: Final = 50  # in one step
_PIECE_ROWS: Final = 200

NUMBER: Final = 0
STRING: Final = 1
BOOLEAN: Final = 2
CONTAINER: Final = 3
NULL: Final = 4


class StepError(HeadraceError):
    """A step that can't be done; the executor adds which. ``type`` is the code of the ``ToolFailure`` it becomes."""

    def __init__(self, message: str, *, type_: str = "invalid_data", retryable: bool = False) -> None:
        super().__init__(message)
        self.type = type_
        self.retryable = retryable


def bad_argument(message: str) -> StepError:
    return StepError(message, type_="invalid_arguments")


def rows_of(value: Any, max_rows: int) -> Rows:
    """A JSON document as rows.

    A list is the rows; an object with exactly one list field gives that list; any other object is one row; null is no
    row. An item that is not an object becomes ``{"value": item}``.
    """
    items = _items(value)
    if len(items) > max_rows:
        raise StepError(f"{len(items)} rows are more than the {max_rows} that a pipeline takes", type_="too_large")
    return [item if isinstance(item, dict) else {"value": item} for item in items]


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [field for field in value.values() if isinstance(field, list)]
        if len(lists) == 1:
            return lists[0]
    return [value]


def checked_path(path: str) -> str:
    """``path`` if it is of a reasonable length: it is taken apart once a row."""
    if len(path) > MAX_PATH:
        raise bad_argument(f"a field name has at most {MAX_PATH} characters")
    return path


def checked_paths(paths: list[str]) -> list[str]:
    if len(paths) > MAX_FIELDS:
        raise bad_argument(f"at most {MAX_FIELDS} fields can be named")
    return [checked_path(path) for path in paths]


def lookup(row: Row, path: str) -> Any:
    """The value of a field; None where there is none."""
    if path in row:
        return row[path]
    if "." not in path:
        return None
    value: Any = row
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 10:
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def reader(path: str) -> Callable[[Row], Any]:
    """``lookup`` of one field, for many rows: what has no dot is a plain look into the row."""
    if "." in path:
        return lambda row: lookup(row, path)
    return lambda row: row.get(path)


def column(rows: Rows, path: str) -> list[Any]:
    """The values of one field, row by row."""
    if "." in path:
        return [lookup(row, path) for row in rows]
    return [row.get(path) for row in rows]


RANKS: Final = {int: NUMBER, float: NUMBER, str: STRING, bool: BOOLEAN, type(None): NULL}


def rank(value: Any) -> int:
    """The type of a JSON value, in sort order."""
    return RANKS.get(type(value), CONTAINER)


def ranks(values: list[Any]) -> set[int]:
    """The types that are among them."""
    return {RANKS.get(kind, CONTAINER) for kind in set(map(type, values))}


def identity(value: Any) -> tuple[int, Any]:
    """Hashable; two JSON values are equal exactly if their identities are (1 and 1.0 are, true and 1 are not)."""
    kind = rank(value)
    return (kind, _canonical(value)) if kind == CONTAINER else (kind, value)


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return ("{", frozenset((key, identity(item)) for key, item in value.items()))
    return ("[", tuple(identity(item) for item in value))


def encoded(rows: Rows, max_bytes: int) -> bytes:
    """Rows as JSON. Raises ``StepError`` (``too_large``) past ``max_bytes``, before all of it is made: many rows may
    hold the same large value.
    """
    pieces: list[bytes] = []
    size = 2
    for start in range(0, len(rows), _PIECE_ROWS):
        piece = orjson.dumps(rows[start : start + _PIECE_ROWS])[1:-1]
        size += len(piece) + 1
        if size > max_bytes:
            raise StepError(f"has more than {max_bytes} bytes: select or filter", type_="too_large")
        pieces.append(piece)
    return b"[%s]" % b",".join(pieces)
