"""The graph of a definition, worked out once: who comes before and after whom, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from headrace.workflows.definition import Edge, Node, WorkflowDefinition


@dataclass(frozen=True, slots=True)
class Plan:
    """A definition ready to be run. ``before`` and ``after`` give the numbers of the edges into and out of a node."""

    definition: WorkflowDefinition
    nodes: dict[str, Node]
    order: tuple[str, ...]
    before: dict[str, tuple[int, ...]]
    after: dict[str, tuple[int, ...]]

    @property
    def edges(self) -> tuple[Edge, ...]:
        return self.definition.edges


def plan_of(definition: WorkflowDefinition) -> Plan:
    """Raises ``ValueError`` for edges that lead nowhere, and for a cycle: ``check`` refuses both before anything is stored."""
    ids = [node.id for node in definition.nodes]
    before: dict[str, list[int]] = {name: [] for name in ids}
    after: dict[str, list[int]] = {name: [] for name in ids}
    for number, edge in enumerate(definition.edges):
        if edge.from_ not in after or edge.to not in before:
            raise ValueError(f"edge {number} leads nowhere")
        after[edge.from_].append(number)
        before[edge.to].append(number)
    return Plan(
        definition=definition,
        nodes={node.id: node for node in definition.nodes},
        order=tuple(_sorter(ids, definition.edges).static_order()),  # CycleError is a ValueError
        before={name: tuple(numbers) for name, numbers in before.items()},
        after={name: tuple(numbers) for name, numbers in after.items()},
    )


def find_cycle(ids: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """The nodes of a cycle, its first one again at the end; empty if there is none. Edges to unknown nodes are passed over."""
    try:
        _sorter(ids, edges).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1] if len(cycle) > 1 else cycle
    return []


def _sorter(ids: Sequence[str], edges: Sequence[Edge]) -> TopologicalSorter[str]:
    known = set(ids)
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(ids, ()))
    for edge in edges:
        if edge.from_ in known and edge.to in known:
            sorter.add(edge.to, edge.from_)
    return sorter
