"""Small plots as HTML and SVG, by hand. Pure; labels are escaped, and everything else is a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

WIDTH: Final = 250
_BOX: Final = 330
_PAD: Final = 6
_EPSILON: Final = 1e-12


def matrix(counts: Mapping[tuple[str, str], int]) -> str:
    """Counts by (row, column), each cell as strong as its share of its row; what stays what it was is framed."""
    rows = sorted({row for row, _ in counts})
    columns = sorted({column for _, column in counts})
    if not rows:
        return '<p class="soft">None.</p>'
    head = "".join(f'<th class="n">{escape(column)}</th>' for column in columns)
    body = "".join(_row(row, columns, counts) for row in rows)
    sums = "".join(f'<td class="n all">{sum(counts.get((row, c), 0) for row in rows):,}</td>' for c in columns)
    return (
        f'<div class="wide"><table class="matrix"><tr><th>live ↓ shadow →</th>{head}<th class="n">all</th></tr>{body}'
        f'<tr><th>all</th>{sums}<td class="n all">{sum(counts.values()):,}</td></tr></table></div>'
    )


def _row(row: str, columns: list[str], counts: Mapping[tuple[str, str], int]) -> str:
    total = sum(counts.get((row, column), 0) for column in columns)
    cells = ""
    for column in columns:
        count = counts.get((row, column), 0)
        tone, kind = ("same", "n same") if row == column else ("other", "n")
        part = f"{count:,}<br><span class=soft>{count / total:.0%}</span>" if count else "<span class=soft>·</span>"
        cells += f'<td class="{kind}" style="background:rgba(var(--{tone}),{0.5 * count / total:.2f})">{part}</td>'
    return f'<tr><th>{escape(row)}</th>{cells}<td class="n all">{total:,}</td></tr>'


def parts(amounts: Sequence[tuple[str, int, str, str]]) -> str:
    """One bar of (name, amount, more words, colour), with its key."""
    total = sum(amount for _, amount, _, _ in amounts) or 1
    bar, key, x = "", "", 0.0
    for name, amount, words, colour in amounts:
        if amount:
            width = 1000 * amount / total
            bar += f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="14" fill="{colour}"/>'
            key += f'<span class="key" style="background:{colour}"></span>{escape(name)} {amount:,} {escape(words)}'
            x += width
    svg = (
        f'<svg viewBox="0 0 1000 14" width="100%" height="14" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
    )
    return f'<div style="border-radius:4px;overflow:hidden">{svg}</div><p class="soft">{key}</p>'


def share_bar(interval: Mapping[str, Any], colour: str = "var(--cand)") -> str:
    """A share from 0 to 1 with its interval, over the quarters."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    grid = "".join(_line(_at(q / 4), _at(q / 4), 2, 20, "var(--line)") for q in range(5))
    bar = f'<rect x="{_PAD}" y="7" width="{value * (WIDTH - 2 * _PAD):.1f}" height="8" rx="2" fill="{colour}" opacity=".45"/>'
    return _svg(f"{grid}{bar}{_whisker(_at(low), _at(high), _at(value), colour)}", WIDTH, 22, percent(interval))


def shares_axis() -> str:
    """What stands under a column of ``share_bar``."""
    ticks = (("start", 0), ("middle", 0.5), ("end", 1))
    marks = "".join(f'<text x="{_at(at):.1f}" y="11" text-anchor="{anchor}">{at:.0%}</text>' for anchor, at in ticks)
    return f'<svg width="{WIDTH}" height="14" viewBox="0 0 {WIDTH} 14" aria-hidden="true">{marks}</svg>'


def interval_plot(interval: Mapping[str, Any]) -> str:
    """A difference with its interval, to the left and right of nothing; empty where there is no interval."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if low is None:
        return ""
    reach = max(abs(low), abs(high)) or 1.0

    def at(x: float) -> float:
        return WIDTH / 2 + x / reach * (WIDTH / 2 - 2 * _PAD)

    middle = f'<line x1="{WIDTH / 2}" x2="{WIDTH / 2}" y1="1" y2="21" stroke="var(--soft)" stroke-dasharray="2"/>'
    label = f"{signed(value)} ({signed(low)} to {signed(high)})"
    return _svg(f"{middle}{_whisker(at(low), at(high), at(value), 'var(--cand)')}", WIDTH, 22, label)


def boxes(live: Sequence[float], shadow: Sequence[float]) -> str:
    """Two boxes (5, 25, 50, 75, 95 %) on one axis that begins at the smallest of them, or at 0 where that is not far."""
    low, high = min(live[0], shadow[0]), max(live[-1], shadow[-1])
    low = 0.0 if 0 <= low < high / 2 else low
    reach = max(high - low, _EPSILON)

    def at(x: float) -> float:
        return _PAD + (x - low) / reach * (_BOX - 2 * _PAD)

    drawn = "".join(
        piece
        for y, five, colour in ((2, live, "var(--live)"), (18, shadow, "var(--cand)"))
        for piece in _box([at(x) for x in five], y, colour)
    )
    ends = f'<text x="{_PAD}" y="45">{number(low)}</text><text x="{_BOX - _PAD}" y="45" text-anchor="end">{number(high)}</text>'
    label = f"median {number(live[2])} live, {number(shadow[2])} shadow"
    return _svg(drawn + _line(_PAD, _BOX - _PAD, 34, 34, "var(--line)") + ends, _BOX, 48, label)


def _box(five: Sequence[float], y: int, colour: str) -> Iterator[str]:
    least, lower, middle, upper, most = five
    yield _line(least, most, y + 6, y + 6, colour)
    yield f'<rect x="{lower:.1f}" y="{y}" width="{max(upper - lower, 1):.1f}" height="12" rx="2" fill="{colour}" opacity=".55"/>'
    yield f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y}" y2="{y + 12}" stroke="var(--ink)" stroke-width="2"/>'


def number(value: float, sign: str = "") -> str:
    """As short as it can be read."""
    return f"{value:{sign},.0f}" if abs(value) >= 1_000 else f"{value:{sign}.4g}"


def signed(value: float) -> str:
    """A difference, likewise."""
    return number(value, "+")


def percent(interval: Mapping[str, Any]) -> str:
    """A share and its interval in words."""
    return f"{interval['value']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"


def _at(share: float) -> float:
    return _PAD + share * (WIDTH - 2 * _PAD)


def _whisker(left: float, right: float, value: float, colour: str) -> str:
    ends = "".join(_line(x, x, 7, 15, "var(--ink)") for x in (left, right))
    return f'{_line(left, right, 11, 11, "var(--ink)")}{ends}<circle cx="{value:.1f}" cy="11" r="3.5" fill="{colour}"/>'


def _line(x1: float, x2: float, y1: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1}" y2="{y2}" stroke="{colour}" stroke-width="1.5"/>'


def _svg(content: str, width: int, height: int, label: str) -> str:
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{content}</svg>"
    )
