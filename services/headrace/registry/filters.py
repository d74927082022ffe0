"""Filters of triggers: JMESPath, less what could make a filter dear, and a bound on what is left.

An author's expression runs on every event that its trigger's patterns let through, on events of up to 25 MB, in the process that
all events pass. So what it may cost is settled when it is published:

    at most 2,000 characters (``Trigger``), nested at most 64 deep    it is parsed and walked without running out of stack
    no objects are made: no {a: b}, no merge(); a list [a, b] is      no part of the event is twice in a value, so that no value
        made of literals, or for a function that gives no list        outgrows the event: nothing can double, again and again
    to_string() at most once, join() gives at most 10,000 characters  nor can text
    at most 100,000 steps on one event                                lists of literals in one another end too

A step costs at most what its part of the event is long, and the parts that one piece of an expression sees are apart from each
other: an evaluation is linear in the event.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature
from jmespath.visitor import Options, TreeInterpreter

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode

MAX_DEPTH: Final = 64
MAX_STEPS: Final = 100_000
MAX_JOINED: Final = 10_000
_LIST_TAKERS: Final = frozenset({"contains", "join", "max", "min", "sum", "avg", "length"})  # none of them gives a list


class InvalidFilter(ValueError):
    """Not an expression that a filter may be."""


class FilterFailed(Exception):
    """An expression can't be evaluated on this event. The text may quote the event."""


class Filter:
    """A compiled expression. Make it with ``compile_filter``."""

    def __init__(self, syntax: _TreeNode) -> None:
        self._syntax = syntax

    def passes(self, view: dict[str, Any]) -> bool:
        """Whether the expression is true of ``view``, by JMESPath's rule: null, false and empty text, lists and objects are false,
        and zero is true.

        Raises:
            FilterFailed: as ``value``.
        """
        value = self.value(view)
        return not (value is None or value is False or value in ("", [], {}))

    def value(self, view: dict[str, Any]) -> Any:
        """What the expression gives: a part of ``view``, or a value made of parts of it.

        Raises:
            FilterFailed: a function was given the wrong type, or it took more than ``MAX_STEPS`` steps.
        """
        try:
            return _Bounded().visit(self._syntax, view)
        except (JMESPathError, RecursionError, ArithmeticError, TypeError, ValueError) as error:
            raise FilterFailed(f"{type(error).__name__}: {error}") from None


@lru_cache(maxsize=1024)
def compile_filter(expression: str) -> Filter:
    """The compiled form of ``expression``, whose length ``Trigger`` bounds.

    Raises:
        InvalidFilter: on one line, what is wrong and, where the parser knows it, at which character. ``!a.b`` is refused too:
            JMESPath reads it as ``(!a).b``, which is null on every event.
    """
    syntax = _parsed(expression)
    nodes = list(_nodes({"type": "filter", "value": None, "children": [syntax]}))
    for node in nodes:
        if problem := _problem(node):
            raise InvalidFilter(problem)
    if sum(node["type"] == "function_expression" and node["value"] == "to_string" for node in nodes) > 1:
        raise InvalidFilter("to_string() more than once")
    return Filter(syntax)


def _parsed(expression: str) -> _TreeNode:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PendingDeprecationWarning)  # `main` for `"main"`: not JMESPath, but accepted
            syntax: _TreeNode = jmespath.compile(expression).parsed
    except JMESPathError as error:
        position = getattr(error, "lex_position", getattr(error, "lexer_position", None))
        reason = str(error).splitlines()[0].rstrip(":")
        raise InvalidFilter(f"{reason}, at character {position + 1}" if position is not None else reason) from None
    except PendingDeprecationWarning:
        raise InvalidFilter("what is between backticks must be JSON; text goes between single quotes") from None
    except RecursionError:
        raise InvalidFilter("nested too deeply") from None
    return syntax


def _nodes(syntax: _TreeNode) -> Iterator[_TreeNode]:
    """Every node of the syntax tree. Raises ``InvalidFilter`` past ``MAX_DEPTH``."""
    level = [syntax]
    for _ in range(MAX_DEPTH + 1):
        yield from level
        level = [child for node in level for child in node["children"] if isinstance(child, dict)]
        if not level:
            return
    raise InvalidFilter(f"nested too deeply: more than {MAX_DEPTH} levels")


def _problem(node: _TreeNode) -> str | None:
    kind, children = node["type"], node["children"]
    if kind in ("subexpression", "index_expression") and children[0]["type"] == "not_expression":
        return "'!' binds tighter than '.': write !(a.b) for !a.b"
    if kind == "multi_select_dict":
        return "a filter makes no objects: {...} is not for filters"
    if kind == "function_expression":
        if node["value"] == "merge":
            return "a filter makes no objects: merge() is not for filters"
        if node["value"] not in Functions.FUNCTION_TABLE:
            return f"no function {node['value']}()"
        if node["value"] in _LIST_TAKERS:
            return None
    if any(isinstance(child, dict) and _makes_a_list(child) for child in children):
        return f"[a, b] is for literals, or an argument of {', '.join(sorted(_LIST_TAKERS))}"
    return None


def _makes_a_list(node: _TreeNode) -> bool:
    return node["type"] == "multi_select_list" and any(child["type"] != "literal" for child in node["children"])


class _TooMuch(JMESPathError):
    """It would have gone on."""


class _Functions(Functions):
    @signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, texts: list[str]) -> str:
        if sum(map(len, texts)) + len(separator) * len(texts) > MAX_JOINED:
            raise _TooMuch(f"join() of more than {MAX_JOINED} characters")
        return separator.join(texts)


class _Bounded(TreeInterpreter):
    def __init__(self) -> None:
        super().__init__(_OPTIONS)
        self._left = MAX_STEPS

    def visit(self, node: _TreeNode, *args: Any, **kwargs: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooMuch(f"more than {MAX_STEPS} steps")
        return super().visit(node, *args, **kwargs)


_OPTIONS: Final = Options(custom_functions=_Functions())
