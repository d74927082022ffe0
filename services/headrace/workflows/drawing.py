"""A definition as a picture: Mermaid text, or SVG laid out in layers. Every text of the definition is escaped."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

from headrace.workflows.definition import Edge, Node, WorkflowDefinition
from headrace.workflows.graph import Plan, plan_of

_SHAPES: Final = {  # Mermaid's brackets around a label
    "condition": ('{"', '"}'),
    "join": ('(("', '"))'),
    "wait": ('(["', '"])'),
    "timer": ('(["', '"])'),
    "workflow": ('[["', '"]]'),
    "map": ('[/"', '"/]'),
}
_FILLS: Final = {"condition": "#fff3cd", "join": "#e2e3e5", "wait": "#d1ecf1", "timer": "#d1ecf1", "map": "#e8daef"}
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 46, 30, 54, 20
_SHOWN: Final = 26  # characters of a line in a box


def mermaid(definition: WorkflowDefinition) -> str:
    """A flowchart; paste it into Markdown."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(definition.nodes)}
    lines = ["flowchart TD"]
    for node in definition.nodes:
        left, right = _SHAPES.get(node.type, ('["', '"]'))
        lines.append(f"  {numbers[node.id]}{left}{_plain(node.id)}<br/>{_plain(_about(node))}{right}")
    for edge in definition.edges:
        label = f'|"{_plain(edge.condition)}"|' if edge.condition else ""
        lines.append(f"  {numbers[edge.from_]} -->{label} {numbers[edge.to]}")
    return "\n".join(lines) + "\n"


def svg(definition: WorkflowDefinition) -> str:
    """A picture of its own: each node below all that come before it."""
    plan = plan_of(definition)
    places = _places(plan)
    width = max(x for x, _ in places.values()) + _WIDTH + _MARGIN
    height = max(y for _, y in places.values()) + _HEIGHT + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *(_line(edge, places) for edge in definition.edges),
        *(_box(node, *places[node.id]) for node in definition.nodes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _places(plan: Plan) -> dict[str, tuple[int, int]]:
    """Left upper corner of each box: the layer is the longest way to the node."""
    layers: dict[str, int] = {}
    for name in plan.order:
        above = [layers[plan.edges[number].from_] for number in plan.before[name]]
        layers[name] = max(above, default=-1) + 1
    filled: dict[int, int] = {}
    places = {}
    for name in plan.order:
        column = filled.get(layers[name], 0)
        filled[layers[name]] = column + 1
        places[name] = (_MARGIN + column * (_WIDTH + _GAP_X), _MARGIN + layers[name] * (_HEIGHT + _GAP_Y))
    return places


def _line(edge: Edge, places: dict[str, tuple[int, int]]) -> str:
    (x1, y1), (x2, y2) = places[edge.from_], places[edge.to]
    start, end = (x1 + _WIDTH // 2, y1 + _HEIGHT), (x2 + _WIDTH // 2, y2)
    bend = (end[1] - start[1]) // 2
    path = f"M{start[0]} {start[1]}C{start[0]} {start[1] + bend} {end[0]} {end[1] - bend} {end[0]} {end[1]}"
    drawn = f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
    if not edge.condition:
        return drawn
    x, y = (start[0] + end[0]) // 2, (start[1] + end[1]) // 2
    return f'{drawn}<text x="{x + 6}" y="{y + 4}" fill="#555">{escape(_short(edge.condition))}</text>'


def _box(node: Node, x: int, y: int) -> str:
    middle, fill = x + _WIDTH // 2, _FILLS.get(node.type, "#e7f0fd")
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="#555"/>'
        f'<text x="{middle}" y="{y + 19}" text-anchor="middle" font-weight="bold">{escape(_short(node.id))}</text>'
        f'<text x="{middle}" y="{y + 36}" text-anchor="middle" fill="#333">{escape(_short(_about(node)))}</text>'
    )


def _about(node: Node) -> str:
    """The type, and the one word that says most."""
    key = {"agent": "agent", "tool": "tool", "task": "action", "workflow": "tag", "wait": "signal", "map": "items"}
    what = node.expr or node.config.get("expr") if node.type == "condition" else node.config.get(key.get(node.type, ""))
    if node.type == "timer":
        what = f"{node.config.get('seconds')} s"
    return f"{node.type}: {what}" if what else node.type


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _plain(text: str) -> str:
    """For a label between quotes: what Mermaid would read as anything else is an entity."""
    return re.sub(r"[^\w .:,=!-]", lambda match: f"#{ord(match[0])};", _short(text))
