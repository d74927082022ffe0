"""Where two JSON values differ first, and in what. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_ABSENT = "(not there)"
_SHOWN = 400  # characters of a value


class Difference(NamedTuple):
    """``where`` is a JSON pointer; ``left`` and ``right`` are what is there, bounded."""

    where: str
    left: Any
    right: Any


def differences(left: Any, right: Any, where: str = "") -> Iterator[Difference]:
    """All places at which the two differ, in the order of the left one's fields; an absent field is a place too."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            yield from differences(left.get(key, _ABSENT), right.get(key, _ABSENT), f"{where}/{_step(key)}")
    elif isinstance(left, list) and isinstance(right, list):
        for index in range(max(len(left), len(right))):
            yield from differences(_item(left, index), _item(right, index), f"{where}/{index}")
    elif left != right or type(left) is not type(right):
        yield Difference(where or "/", bounded(left), bounded(right))


def bounded(value: Any) -> Any:
    """``value``, or the beginning of its text where that is long."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= _SHOWN:
        return value
    return f"{text[:_SHOWN]}… ({len(text)} characters)"


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def _step(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
