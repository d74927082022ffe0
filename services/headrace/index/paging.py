"""Keyset pagination: a page begins after the last row of the one before, so that new rows shift nothing and depth costs nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from headrace.messages.errors import BadMessage

MAX_LIMIT: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def encode_cursor(time: datetime, key: str) -> str:
    """An opaque, URL-safe text for a row's place in the order."""
    place = orjson.dumps([(time - _EPOCH) // _MICROSECOND, key])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Raises ``BadMessage`` (``cursor``) for a text that ``encode_cursor`` did not make."""
    try:
        microseconds, key = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(microseconds, int) and isinstance(key, str) and "\x00" not in key:
            return _EPOCH + microseconds * _MICROSECOND, key
    except (binascii.Error, ValueError, TypeError, OverflowError):
        pass
    raise BadMessage("not a cursor of this list", cause="cursor")


@dataclass(slots=True)
class Query:
    """A ``SELECT`` with the filters that were given, newest first. Every name in it is a constant; values are parameters."""

    table: str
    time: str
    key: str
    conditions: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)

    def where(self, filters: Mapping[str, str | None]) -> None:
        for column, value in filters.items():
            if value is not None:
                self.conditions.append(f"{column} = ${self._add(value)}")

    def after(self, cursor: str | None) -> None:
        if cursor is not None:
            time, key = decode_cursor(cursor)
            self.conditions.append(f"({self.time}, {self.key}) < (${self._add(time)}, ${self._add(key)})")

    def sql(self, columns: str, limit: int) -> str:
        """One row more than ``limit``, which tells whether there is a next page."""
        return (
            f"SELECT {columns} FROM {self.table} WHERE {' AND '.join(self.conditions)} "  # noqa: S608 (constants)
            f"ORDER BY {self.time} DESC, {self.key} DESC LIMIT ${self._add(limit + 1)}"
        )

    def _add(self, value: Any) -> int:
        self.arguments.append(value)
        return len(self.arguments)
