"""Pieces of HTML. Pure; what is no ``Html`` is text from outside, and escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


class Html(str):
    """A piece that is HTML already."""

    __slots__ = ()


def text(value: Any) -> str:
    return escape(str(value))


def code(value: Any) -> Html:
    """A value as its text, or its JSON."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Html(f"<code>{text(shown)}</code>")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of cells; of no rows it says so."""
    lines = ["".join(f"<th>{text(name)}</th>" for name in columns)]
    for row in rows:
        lines.append("".join(f"<td>{cell if isinstance(cell, Html) else text(cell)}</td>" for cell in row))
    if len(lines) == 1:
        return '<p class="soft">None.</p>'
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
