"""Small stand-ins for large JSON: enough for a model to see the shape of what a reference holds."""

from __future__ import annotations

from typing import Any, Final

import orjson

# (items of a list or object, characters of a string, depth), from generous to frugal
_LEVELS: Final = ((10, 200, 4), (5, 100, 3), (3, 40, 2), (3, 16, 1))


def preview(value: Any, max_bytes: int) -> Any:
    """``value`` cut down to at most ``max_bytes`` of JSON. What was left out is marked with ``...``."""
    for items, characters, depth in _LEVELS:
        small = _shortened(value, items, characters, depth)
        if len(orjson.dumps(small)) <= max_bytes:
            return small
    return _summary(value)


def sample(rows: list[dict[str, Any]], max_rows: int, max_bytes: int) -> list[Any]:
    """The first rows, whole where they fit into ``max_bytes``, shortened (or fewer) where not."""
    first = rows[:max_rows]
    if len(orjson.dumps(first)) <= max_bytes:
        return first
    for items, characters, depth in _LEVELS:
        small = [_shortened(row, items, characters, depth) for row in first[: max(1, items // 2)]]
        if len(orjson.dumps(small)) <= max_bytes:
            return small
    return []


def _shortened(value: Any, items: int, characters: int, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= characters else value[:characters] + "..."
    if not isinstance(value, list | dict):
        return value
    if depth == 0:
        return _summary(value)
    if isinstance(value, list):
        kept = [_shortened(item, items, characters, depth - 1) for item in value[:items]]
        return kept if len(value) <= items else [*kept, f"... {len(value) - items} more"]
    pairs = list(value.items())[: items * 2]
    small = {_key(key, characters): _shortened(item, items, characters, depth - 1) for key, item in pairs}
    return small if len(value) <= len(pairs) else small | {"...": f"{len(value) - len(pairs)} more"}


def _key(key: str, characters: int) -> str:
    return key if len(key) <= characters else key[:characters] + "..."


def _summary(value: Any) -> str:
    if isinstance(value, list):
        return f"... list of {len(value)}"
    if isinstance(value, dict):
        return f"... object of {len(value)}"
    return f"... text of {len(value)} characters" if isinstance(value, str) else "..."
