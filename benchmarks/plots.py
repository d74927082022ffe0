"""Small line and bar charts as SVG: the same figures make the same bytes, and mid-tones are readable on light and on dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]
_TEXT, _GRID = "#7d8590", "#7d859055"
_COLOURS = ("#2f81f7", "#d97706", "#16a34a", "#c026d3", "#dc2626")
_WIDTH, _HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 42
_LEGEND = 18  # pixels a series


@dataclass(frozen=True)
class Panel:
    """One pair of axes; x is logarithmic where its values spread over more than a factor of 20."""

    x: str
    y: str
    series: Mapping[str, Points]


def lines(title: str, panels: Sequence[Panel]) -> str:
    """The panels side by side below one title, each with a legend of its own."""
    legend = max(len(panel.series) for panel in panels) * _LEGEND
    height = _HEIGHT + legend
    body = [_text(10, 18, title, size=14, weight="bold")]
    for number, panel in enumerate(panels):
        body += _panel(panel, number * _WIDTH)
    return _svg(_WIDTH * len(panels), height, body)


def bars(title: str, unit: str, values: Mapping[str, float], *, emphasised: str) -> str:
    """Horizontal bars on a logarithmic axis, one a row, in the order given; the value is written at its end."""
    names = list(values)
    label_width, width, row = 330, 780, 22
    low = 10 ** math.floor(math.log10(min(values.values())))
    high = 10 ** math.ceil(math.log10(max(values.values()) * 1.5))
    room = width - label_width - 70
    body = [_text(10, 18, title, size=14, weight="bold")]
    for number, name in enumerate(names):
        y = 32 + number * row
        length = room * math.log10(values[name] / low) / math.log10(high / low)
        colour = _COLOURS[0] if name == emphasised else _TEXT
        body.append(_text(label_width - 8, y + 13, name, anchor="end"))
        body.append(f'<rect x="{label_width}" y="{y + 2}" width="{length:.1f}" height="{row - 7}" fill="{colour}"/>')
        body.append(_text(label_width + length + 6, y + 13, _short(values[name])))
    bottom = 32 + len(names) * row + 16
    body.append(_text(label_width, bottom, f"{unit}, logarithmic"))
    return _svg(width, bottom + 10, body)


def _panel(panel: Panel, left: float) -> list[str]:
    points = [point for series in panel.series.values() for point in series]
    xs = sorted({x for x, _ in points})
    top = _nice(max(y for _, y in points))
    logarithmic = xs[0] > 0 and xs[-1] / xs[0] > 20
    spread = math.log(xs[-1] / xs[0]) if logarithmic else xs[-1] - xs[0]

    def at_x(x: float) -> float:
        share = (math.log(x / xs[0]) if logarithmic else x - xs[0]) / spread if spread else 0.5
        return left + _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    body = []
    for step in range(5):
        y = top * step / 4
        right = left + _WIDTH - _RIGHT
        body.append(f'<line x1="{left + _LEFT}" y1="{at_y(y):.1f}" x2="{right}" y2="{at_y(y):.1f}" stroke="{_GRID}"/>')
        body.append(_text(left + _LEFT - 6, at_y(y) + 4, _short(y), anchor="end"))
    for x in xs:
        body.append(_text(at_x(x), _HEIGHT - _BOTTOM + 16, _short(x), anchor="middle"))
    body.append(_text(left + _LEFT, _HEIGHT - 8, f"{panel.y}, by {panel.x}"))
    for number, (name, series) in enumerate(panel.series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        ordered = sorted(series)
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in ordered)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in ordered]
        below = _HEIGHT + 8 + number * _LEGEND
        body.append(f'<circle cx="{left + _LEFT + 4}" cy="{below - 4}" r="4" fill="{colour}"/>')
        body.append(_text(left + _LEFT + 14, below, name))
    return body


def _nice(value: float) -> float:
    """The next of 1, 2, 4, 8, 10 times a power of ten that is not less."""
    if value <= 0:
        return 1.0
    power: float = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1_000:.3g}k"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{_TEXT}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(width: float, height: float, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif">'
    )
    return "\n".join([head, *body, "</svg>", ""])
