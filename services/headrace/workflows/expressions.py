"""Expressions of workflows: JMESPath within the bounds of ``registry.filters``, and values that are written with them.

People and models write ``price < 500``. JMESPath wants a literal in backticks there, so a number after a comparison is put into
them; everything else is read as JMESPath has it.

An expression sees

    input            of the run
    nodes.ID         status, output and error of each node
    item, index      within a map
    and the fields of the output of the node before, if that is one node and its output is an object; the names above win
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from headrace.registry.filters import Filter, FilterFailed, InvalidFilter, compile_filter

MARK: Final = "$expr"
_MAX_DEPTH: Final = 32
_QUOTED: Final = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`"
_COMPARED: Final = re.compile(rf"({_QUOTED})|((?:[<>]=?|==|!=)\s*)(-?\d+(?:\.\d+)?)(?![\w.])")

View = dict[str, Any]


def compiled(expression: str) -> Filter:
    """Raises ``InvalidFilter`` with what is wrong, on one line."""
    return compile_filter(_COMPARED.sub(_literal, expression))


def _literal(match: re.Match[str]) -> str:
    return match[0] if match[1] else f"{match[2]}`{match[3]}`"


def evaluate(expression: str, view: View) -> Any:
    """What ``expression`` gives. Raises ``FilterFailed``."""
    try:
        return compiled(expression).value(view)
    except InvalidFilter as error:  # stored by a version that allowed it
        raise FilterFailed(str(error)) from None


def passes(expression: str, view: View) -> bool:
    """Whether ``expression`` is true of ``view``. Raises ``FilterFailed``."""
    try:
        return compiled(expression).passes(view)
    except InvalidFilter as error:
        raise FilterFailed(str(error)) from None


def is_marked(value: Any) -> bool:
    """Whether ``value`` stands for what an expression gives."""
    return isinstance(value, dict) and value.keys() == {MARK}


def resolve(value: Any, view: View) -> Any:
    """``value`` with each ``{"$expr": ...}`` in it replaced. Raises ``FilterFailed``.

    What an expression gives is not looked at again, so data that looks like an expression stays data.
    """
    if is_marked(value):
        return evaluate(value[MARK], view)
    if isinstance(value, dict):
        return {key: resolve(item, view) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, view) for item in value]
    return value


def problems(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Path and reason of each expression in ``value`` that is none, or of nesting that goes too deep."""
    if len(path) > _MAX_DEPTH:
        yield path, f"nested more than {_MAX_DEPTH} deep"
    elif is_marked(value):
        yield from ((path, reason) for reason in faults(value[MARK]))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from problems(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from problems(item, (*path, index))


def faults(expression: Any) -> Iterator[str]:
    """Why ``expression`` is none; nothing if it is one."""
    if not isinstance(expression, str) or not 0 < len(expression) <= 2_000:
        yield "an expression is a text of 1 to 2000 characters"
        return
    try:
        compiled(expression)
    except InvalidFilter as error:
        yield f"not an expression: {error}"
