"""JSON documents that a pipeline works on, read strictly, and quickly where they are this service's own.

The quick reader is silent about duplicate keys and about digits that a number loses. But a document that it writes again byte for
byte has neither, and results of pipelines, which the next call takes as its input, are such documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

import orjson

from headrace.messages import strict_json

_CONTAINERS: Final = frozenset({dict, list})


def parsed(data: bytes) -> Any:
    """What ``strict_json.loads`` gives. Raises ``BadMessage`` as it does."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return strict_json.loads(data)  # says what is wrong, and where
    if orjson.dumps(value) == data and not _deeper_than(value, data, strict_json.MAX_DEPTH):
        return value
    del value
    return strict_json.loads(data)


def _deeper_than(value: Any, data: bytes, limit: int) -> bool:
    """Whether ``value``, written as ``data``, nests deeper. Levels need brackets, and most tables have one a row."""
    if type(value) is list and _CONTAINERS.issuperset(map(type, value)):
        spare = data.count(b"[") + data.count(b"{") - 1 - len(value)  # in all rows together, and in texts
        if 2 + spare <= limit:
            return False
    return _levels_past(value, limit)


def _levels_past(value: Any, limit: int) -> bool:
    """Level by level, since most documents have few levels and many values."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(limit):
        if _CONTAINERS.isdisjoint(set(map(type, _within(level)))):
            return False
        level = [item for item in _within(level) if type(item) in _CONTAINERS]
    return bool(level)


def _within(level: list[Any]) -> Iterator[Any]:
    """What these lists and objects hold."""
    return chain.from_iterable(held if type(held) is list else held.values() for held in level)
