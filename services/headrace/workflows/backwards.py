"""A run on its way backwards: its completed nodes are undone, the last one first, one after the other."""

from __future__ import annotations

from typing import Any, Final

from headrace.registry.filters import FilterFailed
from headrace.workflows.definition import Node
from headrace.workflows.draft import Draft, unusable
from headrace.workflows.events import End
from headrace.workflows.expressions import resolve
from headrace.workflows.state import Unit
from headrace.workflows.views import beside, body_of

_UNDO: Final = "undo"  # place of a compensation's unit


def compensate(draft: Draft) -> None:
    """Undo the next node, or end the run. An undoing that fails is noted, and the next one has its turn."""
    undoing = next((name for name, node in draft.state.nodes.items() if node.status == "undoing"), None)
    if undoing is None:
        _undo_next(draft)
        return
    node, undo = draft.plan.nodes[undoing], draft.state.nodes[undoing].undo
    if undo is None or undo.status == "queued":
        _undo(draft, node, undo or Unit())
    elif undo.status in ("done", "failed"):
        draft.node(undoing, "undone", error=undo.error if undo.status == "failed" else None)


def _undo_next(draft: Draft) -> None:
    undoable = [
        (node.place, name)
        for name, node in draft.state.nodes.items()
        if node.status == "completed" and draft.plan.nodes[name].compensation is not None
    ]
    if undoable:
        draft.node(max(undoable)[1], "undo", undo=Unit())
        return
    ending = draft.state.ending or "fail"
    draft.run(ending)
    status: Any = draft.state.status
    draft.commands.append(End(status=status, error=draft.state.error))


def _undo(draft: Draft, node: Node, unit: Unit) -> None:
    body = body_of(node, None)
    try:
        config = resolve(body.config, beside(draft.state.nodes[node.id].output, draft.state))
        draft.begin(node, None, unit, body, config, _UNDO)
    except FilterFailed as error:
        draft.node(node.id, undo=unit.replace(status="failed", error=unusable(error)))
