"""``table_filter {condition}``: the rows for which the condition holds.

A condition is ``{field, op, value}``, or ``{all: [...]}``, ``{any: [...]}``, ``{not: {...}}``, nested. ``==`` and
``!=`` compare any JSON values (a missing field is null); ``<`` and its kin hold only between two numbers or two
strings; ``in`` asks whether the field's value is in the list ``value``; ``contains`` whether the field's text has
``value`` within it, or the field's list has it as an item.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import repeat
from typing import Any, Final

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import NUMBER, STRING, bad_argument, checked_path, identity, rank, ranks
from headrace.tools.pipeline.step import Transform
from headrace.tools.pipeline.table import Table

Marks = list[bool]  # of each row, or value: whether it holds
Condition = Callable[[Table], Marks]
Test = Callable[[list[Any]], Marks]

MAX_DEPTH: Final = 16
MAX_CONDITIONS: Final = 50


def table_filter(arguments: JsonObject) -> Transform:
    condition = _Reader().read(arguments["condition"], "condition", MAX_DEPTH)

    return lambda table: table.kept(condition(table))


class _Reader:
    """Turns a condition into a function, counting its parts."""

    def __init__(self) -> None:
        self._left = MAX_CONDITIONS

    def read(self, condition: Any, where: str, depth: int) -> Condition:
        self._left -= 1
        if depth == 0 or self._left < 0:
            raise bad_argument(f"{where}: a condition nests at most {MAX_DEPTH} deep and has {MAX_CONDITIONS} parts")
        if not isinstance(condition, dict):
            raise bad_argument(f"{where} must be an object")
        keys = set(condition)
        if keys == {"all"} or keys == {"any"}:
            return self._junction(condition, where, depth)
        if keys == {"not"}:
            inner = self.read(condition["not"], f"{where}.not", depth - 1)
            return lambda table: list(map(operator.not_, inner(table)))
        if keys == {"field", "op", "value"}:
            return _comparison(condition, where)
        raise bad_argument(f"{where} must be {{field, op, value}}, {{all}}, {{any}} or {{not}}")

    def _junction(self, condition: JsonObject, where: str, depth: int) -> Condition:
        ((name, parts),) = condition.items()
        if not isinstance(parts, list):
            raise bad_argument(f"{where}.{name} must be a list of conditions")
        inner = [self.read(part, f"{where}.{name}[{index}]", depth - 1) for index, part in enumerate(parts)]
        both, first = (operator.and_, True) if name == "all" else (operator.or_, False)

        def marks(table: Table) -> Marks:
            held = [first] * len(table)
            for part in inner:
                held = list(map(both, held, part(table)))
            return held

        return marks


def _comparison(condition: JsonObject, where: str) -> Condition:
    field, name, value = condition["field"], condition["op"], condition["value"]
    if not isinstance(field, str):
        raise bad_argument(f"{where}.field must be a string")
    make = _OPERATORS.get(name) if isinstance(name, str) else None
    if make is None:
        raise bad_argument(f"{where}.op must be one of {' '.join(_OPERATORS)}")
    if name == "in" and not isinstance(value, list):
        raise bad_argument(f"{where}.value must be a list for the operator in")
    path, test = checked_path(field), make(value)
    return lambda table: test(table.column(path))


def _equals(value: Any) -> Test:
    if isinstance(value, str):  # no other JSON value is equal to one in Python either
        return lambda found: [item == value for item in found]
    wanted = identity(value)
    return lambda found: [identity(item) == wanted for item in found]


def _differs(value: Any) -> Test:
    equals = _equals(value)
    return lambda found: list(map(operator.not_, equals(found)))


def _in(value: list[Any]) -> Test:
    wanted = {identity(item) for item in value}
    return lambda found: [identity(item) in wanted for item in found]


def _contains(value: Any) -> Test:
    wanted = identity(value)

    def holds(found: Any) -> bool:
        if isinstance(found, str):
            return isinstance(value, str) and value in found
        return isinstance(found, list) and any(identity(item) == wanted for item in found)

    return lambda found: list(map(holds, found))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def make(value: Any) -> Test:
        kind = rank(value)
        if kind not in (NUMBER, STRING):
            return lambda found: [False] * len(found)

        def test(found: list[Any]) -> Marks:
            if ranks(found) == {kind}:
                return list(map(compare, found, repeat(value)))
            return [rank(item) == kind and compare(item, value) for item in found]

        return test

    return make


_OPERATORS: Final[dict[str, Callable[[Any], Test]]] = {
    "==": _equals,
    "!=": _differs,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": _in,
    "contains": _contains,
}
