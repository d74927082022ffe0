"""What a comparison found, as JSON: ``headrace runs diff --json`` and ``GET /v1/runs/{run_id}/diff/{other}``."""

from __future__ import annotations

from typing import Any

from headrace.history.alignment import Row, Who
from headrace.history.comparison import Child, Compared
from headrace.messages.run import Usage


def facts(found: Compared) -> dict[str, Any]:
    """``first`` and ``rows`` name places; runs of sub-agents are in ``children``, each in this shape."""
    aligned = found.aligned
    left, right = found.usage
    return {
        "left": _run(found.left, aligned.left, left),
        "right": _run(found.right, aligned.right, right),
        "same": found.same,
        "shared_rows": aligned.shared,
        "first": None if aligned.first is None else _row(aligned.first),
        "rows": [_row(row) for row in aligned.rows],
        "children": [_child(child) for child in found.children],
    }


def _run(run: str, who: Who, family: Usage) -> dict[str, Any]:
    origin = who.forked_from.plain() if who.forked_from else None
    return (
        {"run_id": run}
        | who._asdict()
        | {"usage": who.usage.plain(), "forked_from": origin, "usage_with_sub_agents": family.plain()}
    )


def _child(child: Child) -> dict[str, Any]:
    """With the whole comparison of its runs, in the shape of the outer one."""
    return {
        "step": child.step,
        "call_id": child.call_id,
        "left": child.left,
        "right": child.right,
        "compared": facts(child.compared) if child.compared else None,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "step": row.step,
        "kind": row.kind,
        "left": row.left.place if row.left else None,
        "right": row.right.place if row.right else None,
        "difference": row.difference._asdict() if row.difference else None,
    }
