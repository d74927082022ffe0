"""The table: states and marks under their keys. The one place that knows how they are written down.

A key is a JSON list: ``["mark", part]`` or ``["window", part, tenant, agent, start_ms, seconds]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from headrace.analytics.windows import Change, Mark, State, WindowKey

Writes = list[tuple[int, str, Any]]


class Table(Protocol):
    """What the book needs of ``runtime.faust_app.FaustApp``."""

    def get(self, key: str) -> Any: ...

    def items(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class PartWindow:
    """One part's state of one window."""

    part: str
    window: WindowKey
    state: State


def mark_of(table: Table, part: str) -> Mark:
    """How far ``part`` is counted; from nothing, if it is new."""
    value = table.get(_mark_key(part))
    return Mark() if value is None else Mark.from_json(value)


def state_of(table: Table, part: str, window: WindowKey) -> State | None:
    value = table.get(_window_key(part, window))
    return None if value is None else State.from_json(value)


def writes_of(part: str, change: Change) -> Writes:
    """``change`` as writes, states before the mark that covers them."""
    partition = partition_of(part)
    states: Writes = [
        (partition, _window_key(part, window), state.to_json()) for window, state in change.states.items()
    ]
    return [*states, (partition, _mark_key(part), change.mark.to_json())]


def read(table: Table) -> tuple[list[PartWindow], dict[str, Mark]]:
    """All of it."""
    windows: list[PartWindow] = []
    marks: dict[str, Mark] = {}
    for key, value in table.items().items():
        kind, part, *rest = orjson.loads(key)
        if kind == "mark":
            marks[part] = Mark.from_json(value)
        else:
            windows.append(PartWindow(part, WindowKey(*rest), State.from_json(value)))
    return windows, marks


def deletion(one: PartWindow) -> tuple[int, str, None]:
    return partition_of(one.part), _window_key(one.part, one.window), None


def partition_of(part: str) -> int:
    """The audit partition of a part, and so the changelog's."""
    return int(part.partition("/")[0])


def _mark_key(part: str) -> str:
    return orjson.dumps(["mark", part]).decode()


def _window_key(part: str, window: WindowKey) -> str:
    return orjson.dumps(["window", part, *window]).decode()
