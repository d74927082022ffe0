"""A run on its way forwards: which nodes start, are skipped or have ended, until every node has.

A node may start when each edge into it is decided and one of them is taken; if none is, it is skipped, and so is what only it leads
to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.messages.ids import work_id
from headrace.messages.workflow import WorkError
from headrace.registry.filters import FilterFailed
from headrace.workflows.check import BRANCHES
from headrace.workflows.definition import MapConfig, Node, TimerConfig, WaitConfig
from headrace.workflows.draft import LOCAL, Draft, unusable
from headrace.workflows.events import End
from headrace.workflows.expressions import evaluate, passes, resolve
from headrace.workflows.state import SETTLED, EdgeStatus, Unit
from headrace.workflows.views import beside, body_of, into, taken_into


def follow(draft: Draft) -> None:
    """Take each node as far as it gets now, in the order of the graph."""
    for name in draft.plan.order:
        if draft.state.status == "compensating":
            return
        node = draft.state.nodes[name]
        if node.status == "pending" and draft.state.status == "running":
            _admit(draft, name)
        if draft.state.nodes[name].status == "running":
            _attend(draft, name)
    if draft.state.status == "running" and all(node.status in SETTLED for node in draft.state.nodes.values()):
        _complete(draft)


def _admit(draft: Draft, name: str) -> None:
    """Start the node, skip it, or leave it until the edges into it are decided."""
    edges = [draft.state.edges[number] for number in draft.plan.before[name]]
    node = draft.plan.nodes[name]
    soon = node.type == "join" and node.config.get("need") == "any" and "taken" in edges
    if "open" in edges and not soon:
        return
    if edges and "taken" not in edges:
        draft.node(name, "skip")
        _decide(draft, name, dead=True)
        return
    try:
        draft.node(name, "start", units=_units(draft, node))
    except FilterFailed as error:
        draft.node(name, "start")
        _fail(draft, name, unusable(error))


def _units(draft: Draft, node: Node) -> tuple[Unit, ...]:
    if node.type != "map":
        return (Unit(),)
    config = msgspec.convert(node.config, MapConfig)
    items = evaluate(config.items, into(draft.plan, draft.state, node.id))
    if not isinstance(items, list):
        raise FilterFailed("items gave no list")
    if len(items) > config.max_items:
        raise FilterFailed(f"items gave {len(items)} of them, {config.max_items} allowed")
    return tuple(Unit(item=item) for item in items)


def _attend(draft: Draft, name: str) -> None:
    """Start what may start of a running node, hand it its signal, and see whether it has ended."""
    node = draft.plan.nodes[name]
    if draft.state.status == "running":
        _start_units(draft, node)
    if node.type == "wait":
        _hear(draft, node)
    state = draft.state.nodes[name]
    if state.status != "running":
        return
    if failed := next((unit for unit in state.units if unit.status == "failed"), None):
        _fail(draft, name, failed.error or WorkError(type="failed"))
    elif all(unit.status == "done" for unit in state.units):
        outputs = [unit.output for unit in state.units]
        _done(draft, name, outputs if node.type == "map" else outputs[0])


def _start_units(draft: Draft, node: Node) -> None:
    units = draft.state.nodes[node.id].units
    at_once = msgspec.convert(node.config, MapConfig).parallel if node.type == "map" else 1
    room = at_once - sum(unit.status == "running" for unit in units)
    for number, unit in enumerate(units):
        if unit.status == "queued" and room > 0 and draft.state.nodes[node.id].status == "running":
            room -= 1
            _start(draft, node, number, unit)


def _start(draft: Draft, node: Node, number: int, unit: Unit) -> None:
    try:
        if node.type in LOCAL:
            _begin_local(draft, node, number, unit)
            return
        body, view, place = body_of(node, number), into(draft.plan, draft.state, node.id), ""
        if node.type == "map":
            view |= {"item": unit.item, "index": number}
            place = str(number)
        draft.begin(node, number, unit, body, resolve(body.config, view), place)
    except FilterFailed as error:
        _fail(draft, node.id, unusable(error))


def _begin_local(draft: Draft, node: Node, number: int, unit: Unit) -> None:
    """A node that is done at once, or waits for a time or a signal."""
    attempt = unit.attempt + 1
    started = {"attempt": attempt, "work_id": work_id(*draft.who, node.id, "", attempt)}
    wake_ms = draft.timeout(node)
    output: Any = None
    if node.type == "timer":
        wake_ms = draft.now_ms + int(1_000 * msgspec.convert(node.config, TimerConfig).seconds)
    elif node.type == "condition":
        output = passes(node.expr or node.config["expr"], into(draft.plan, draft.state, node.id))
    elif node.type == "join":
        taken = taken_into(draft.plan, draft.state, node.id)
        output = {edge.from_: draft.state.nodes[edge.from_].output for edge in taken}
    draft.unit(node.id, number, unit, "start", wake_ms=wake_ms, **started)
    if node.type in ("condition", "join"):
        draft.unit(node.id, number, draft.state.nodes[node.id].units[number], "succeed", output=output, wake_ms=None)


def _hear(draft: Draft, node: Node) -> None:
    """The signal that a waiting node is for, if it has come. One signal is for one node."""
    name = signal_of(node)
    units = draft.state.nodes[node.id].units
    if name in draft.state.signals and units and units[0].status == "running":
        left = dict(draft.state.signals)
        payload = left.pop(name)
        draft.state = draft.state.replace(signals=left)
        draft.unit(node.id, 0, units[0], "succeed", output=payload, error=None, wake_ms=None)


def _done(draft: Draft, name: str, output: Any) -> None:
    draft.state = draft.state.replace(completed=draft.state.completed + 1)
    draft.node(name, "complete", output=output, place=draft.state.completed)
    _decide(draft, name)


def _fail(draft: Draft, name: str, error: WorkError) -> None:
    """The node has failed for good: what is left of it is stopped, and the run breaks unless the node lets it go on."""
    draft.halt(name)
    draft.node(name, "fail", error=error)
    if draft.plan.nodes[name].on_error == "continue":
        _decide(draft, name)
    else:
        draft.break_off("fail", WorkError(type=error.type, message=f"node {name}: {error.message}"[:1_000]))


def _decide(draft: Draft, name: str, *, dead: bool = False) -> None:
    """Say of each edge out of an ended node whether it is taken."""
    edges = list(draft.state.edges)
    try:
        for number in draft.plan.after[name]:
            edges[number] = "dead" if dead else _edge(draft, name, number)
    except FilterFailed as error:
        draft.break_off("fail", unusable(error, f"edges of {name}: "))
        return
    draft.state = draft.state.replace(edges=tuple(edges))


def _edge(draft: Draft, name: str, number: int) -> EdgeStatus:
    condition = draft.plan.edges[number].condition
    if condition is None:
        return "taken"
    if condition in BRANCHES:
        return "taken" if draft.state.nodes[name].output is (condition == "true") else "dead"
    view = beside(draft.state.nodes[name].output, draft.state)
    return "taken" if passes(condition, view) else "dead"


def _complete(draft: Draft) -> None:
    """Every node has ended: the output is that of the last one, or of each last one by its id if there are more."""
    leaves = [name for name in draft.plan.order if not draft.plan.after[name]]
    outputs = {name: draft.state.nodes[name].output for name in leaves if draft.state.nodes[name].place}
    output = next(iter(outputs.values())) if len(leaves) == 1 and outputs else outputs
    draft.run("complete", output=output)
    draft.commands.append(End(status="completed", output=output))


def signal_of(node: Node) -> str:
    """Which signal a waiting node is for."""
    return msgspec.convert(node.config, WaitConfig).signal or node.id
