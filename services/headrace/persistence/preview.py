"""A bounded view of a JSON value, for lists and pages: the value itself where it is small, else a cut of its structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from headrace.postgres.json import Document

ELLIPSIS: Final = "\u2026"


@dataclass(frozen=True, slots=True)
class _Cut:
    """How much of a value is kept: characters of a text, items of an array or object, levels of nesting."""

    text: int
    items: int
    depth: int


_CUTS: Final = (_Cut(600, 16, 6), _Cut(200, 8, 4), _Cut(60, 5, 2))


def preview(value: Any, max_bytes: int) -> Document:
    """JSON text of ``value`` in at most ``max_bytes``. Where something was left out there is an ellipsis."""
    data = orjson.dumps(value)
    for cut in _CUTS:
        if len(data) <= max_bytes:
            return Document(data)
        value = _shortened(value, cut)
        data = orjson.dumps(value)
    return Document(data if len(data) <= max_bytes else orjson.dumps(ELLIPSIS))


def _shortened(value: Any, cut: _Cut, level: int = 0) -> Any:
    if isinstance(value, str):
        return value if len(value) <= cut.text else value[: cut.text] + ELLIPSIS
    if not isinstance(value, dict | list | tuple):
        return value
    if level == cut.depth:
        return ELLIPSIS if value else value
    if isinstance(value, dict):
        kept = {
            str(key)[: cut.text]: _shortened(item, cut, level + 1) for key, item in list(value.items())[: cut.items]
        }
        return kept if len(value) <= cut.items else {**kept, ELLIPSIS: f"{len(value) - cut.items} more"}
    items = [_shortened(item, cut, level + 1) for item in value[: cut.items]]
    return items if len(value) <= cut.items else [*items, f"{ELLIPSIS} {len(value) - cut.items} more"]
