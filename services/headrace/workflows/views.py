"""What expressions see of a run (``expressions`` says it in words), and which work belongs to a unit."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.workflows.definition import Body, Edge, MapConfig, Node
from headrace.workflows.expressions import View
from headrace.workflows.graph import Plan
from headrace.workflows.state import RunState


def names(state: RunState) -> View:
    """What is there for every expression."""
    nodes = {
        name: {
            "status": node.status,
            "output": node.output,
            "error": None if node.error is None else {"type": node.error.type, "message": node.error.message},
        }
        for name, node in state.nodes.items()
    }
    return {"input": state.input, "nodes": nodes}


def beside(output: Any, state: RunState) -> View:
    """The names with the fields of ``output`` beside them, if it is an object."""
    return {**output, **names(state)} if isinstance(output, dict) else names(state)


def into(plan: Plan, state: RunState, name: str) -> View:
    """What the expressions of a node see: the output is that of the node before, if only one edge into it is taken."""
    taken = taken_into(plan, state, name)
    return beside(state.nodes[taken[0].from_].output if len(taken) == 1 else None, state)


def taken_into(plan: Plan, state: RunState, name: str) -> list[Edge]:
    """The edges into a node that are taken."""
    return [plan.edges[number] for number in plan.before[name] if state.edges[number] == "taken"]


def body_of(node: Node, number: int | None) -> Body:
    """What is done for a unit of the node: its own work, a map's body, or (no number) its compensation."""
    if number is None and node.compensation is not None:
        return node.compensation
    if node.type == "map":
        return msgspec.convert(node.config, MapConfig).body
    return Body(type=node.type, config=node.config)  # type: ignore[arg-type]  # asked for nodes that others work on


def asks_outside(node: Node) -> bool:
    """Whether a unit of the node may be a task, which somebody outside answers."""
    bodies = [body_of(node, 0), *([node.compensation] if node.compensation else [])]
    return any(body.type == "task" for body in bodies)
