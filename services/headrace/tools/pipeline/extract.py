"""``regex_extract {field, pattern}``: what an RE2 pattern finds first in a text field, as new fields of the row.

A group with a name (``(?P<area>...)``) gives a field of that name. Without one, the field ``<field>_match`` gets the
whole match, or the list of its groups where there are groups. A field that is there already is replaced. What is no
text, or does not match, gives null.

RE2 takes time in proportion to the text whatever the pattern is, and its memory is bounded here. It knows no look-around and no
back-references: a pattern with one is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from headrace.messages.base import JsonObject
from headrace.tools.pipeline.rows import bad_argument, checked_path, reader
from headrace.tools.pipeline.step import Transform
from headrace.tools.pipeline.table import Table

MAX_PATTERN: Final = 1_000  # characters
MAX_GROUPS: Final = 20
SUFFIX: Final = "_match"
_MAX_MEMORY: Final = 8 * 2**20  # bytes of one compiled pattern

Fields = Callable[[Any], dict[str, Any]]


def regex_extract(arguments: JsonObject) -> Transform:
    field = checked_path(arguments["field"])
    read, fields = reader(field), _fields(_compiled(arguments["pattern"]), field + SUFFIX)

    def apply(table: Table) -> Table:
        return Table([row | fields(read(row)) for row in table.rows()])

    return apply


def _compiled(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN:
        raise bad_argument(f"a pattern has at most {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise bad_argument(f"pattern is not valid for RE2: {_said(error)}") from None
    if compiled.groups > MAX_GROUPS:
        raise bad_argument(f"a pattern has at most {MAX_GROUPS} groups")
    return compiled


def _said(error: Exception) -> str:
    text = error.args[0] if error.args else "it does not compile"
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))[:200]


def _fields(pattern: Any, name: str) -> Fields:
    names = list(pattern.groupindex)
    if names:
        nothing: dict[str, Any] = dict.fromkeys(names)

        def named(value: Any) -> dict[str, Any]:
            found = pattern.search(value) if isinstance(value, str) else None
            return found.groupdict() if found else nothing

        return named

    def one(value: Any) -> dict[str, Any]:
        found = pattern.search(value) if isinstance(value, str) else None
        if found is None:
            return {name: None}
        return {name: list(found.groups()) if pattern.groups else found[0]}

    return one
