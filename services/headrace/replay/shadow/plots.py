"""Small plots as HTML and SVG, by hand: a matrix of counts, a share, an interval. Pure; labels are escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_WIDTH: Final = 260
_HEIGHT: Final = 22


def matrix(counts: Mapping[tuple[str, str], int]) -> str:
    """Counts by (row, column), each cell as dark as its share of its row."""
    rows = sorted({row for row, _ in counts})
    columns = sorted({column for _, column in counts})
    if not rows:
        return '<p class="soft">None.</p>'
    head = "".join(f'<th class="n">{escape(column)}</th>' for column in columns)
    body = "".join(_row(row, columns, counts) for row in rows)
    return f'<table><tr><th></th>{head}<th class="n">all</th></tr>{body}</table>'


def _row(row: str, columns: list[str], counts: Mapping[tuple[str, str], int]) -> str:
    total = sum(counts.get((row, column), 0) for column in columns)
    cells = ""
    for column in columns:
        count = counts.get((row, column), 0)
        tone = "33,102,172" if row == column else "179,88,6"
        cells += f'<td class="n" style="background:rgba({tone},{0.65 * count / total:.2f})">{count:,}</td>'
    return f'<tr><th>{escape(row)}</th>{cells}<td class="n">{total:,}</td></tr>'


def share_bar(interval: Mapping[str, Any]) -> str:
    """A share from 0 to 1 with its interval."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    bar = f'<rect x="0" y="5" width="{value * _WIDTH:.1f}" height="12" fill="var(--a)" opacity=".35"/>'
    ends = _whisker(low * _WIDTH, high * _WIDTH) if low is not None else ""
    text = f"{value:.1%} ({low:.1%} to {high:.1%})" if low is not None else f"{value:.1%}"
    return _svg(f'<rect x="0" y="5" width="{_WIDTH}" height="12" fill="var(--line)"/>{bar}{ends}', text)


def interval_plot(interval: Mapping[str, Any]) -> str:
    """A difference with its interval, to the left and right of nothing."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if low is None:
        return escape(f"{value:+.4g}")
    reach = max(abs(low), abs(high)) or 1.0

    def at(x: float) -> float:
        return _WIDTH / 2 + x / reach * (_WIDTH / 2 - 4)

    zero = (
        f'<line x1="{_WIDTH / 2}" x2="{_WIDTH / 2}" y1="0" y2="{_HEIGHT}" stroke="var(--soft)" stroke-dasharray="2"/>'
    )
    point = f'<circle cx="{at(value):.1f}" cy="11" r="4" fill="var(--b)"/>'
    return _svg(f"{zero}{_whisker(at(low), at(high))}{point}", f"{value:+.4g} ({low:+.4g} to {high:+.4g})")


def _whisker(left: float, right: float) -> str:
    return f'<line x1="{left:.1f}" x2="{right:.1f}" y1="11" y2="11" stroke="var(--ink)" stroke-width="2"/>'


def _svg(content: str, text: str) -> str:
    label = escape(text)
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{content}'
        f"</svg><br>{label}"
    )
