"""A run of a workflow as data, and its three state machines as tables.

A run has nodes, a node has units: one, or one for each item of a map. A unit is a piece of work with attempts; the id of its
present attempt (``work_id``) is what its end is known by, so an end that comes twice, or late, matches nothing.

``wake_ms`` is the time that a unit waits for: in ``backoff`` the next attempt, of a timer its end, of anything else its timeout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from headrace.messages.base import Part
from headrace.messages.workflow import WorkError

RunStatus = Literal["running", "paused", "compensating", "completed", "failed", "cancelled"]
NodeStatus = Literal["pending", "running", "completed", "failed", "skipped", "cancelled", "undoing", "undone"]
UnitStatus = Literal["queued", "running", "backoff", "done", "failed", "cancelled"]
EdgeStatus = Literal["open", "taken", "dead"]

UNIT: Final[dict[tuple[UnitStatus, str], UnitStatus]] = {
    ("queued", "start"): "running",
    ("queued", "cancel"): "cancelled",
    ("running", "succeed"): "done",
    ("running", "fail"): "failed",
    ("running", "retry"): "backoff",
    ("running", "cancel"): "cancelled",
    ("backoff", "wake"): "queued",
    ("backoff", "cancel"): "cancelled",
}
NODE: Final[dict[tuple[NodeStatus, str], NodeStatus]] = {
    ("pending", "start"): "running",
    ("pending", "skip"): "skipped",
    ("pending", "cancel"): "cancelled",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "cancel"): "cancelled",
    ("completed", "undo"): "undoing",
    ("undoing", "undone"): "undone",
}
RUN: Final[dict[tuple[RunStatus, str], RunStatus]] = {
    ("running", "pause"): "paused",
    ("running", "complete"): "completed",
    ("running", "break"): "compensating",
    ("paused", "resume"): "running",
    ("paused", "break"): "compensating",
    ("compensating", "fail"): "failed",
    ("compensating", "cancel"): "cancelled",
}
ENDED: Final[frozenset[RunStatus]] = frozenset({"completed", "failed", "cancelled"})
SETTLED: Final[frozenset[NodeStatus]] = frozenset({"completed", "failed", "skipped", "cancelled", "undoing", "undone"})


class Unit(Part, frozen=True, kw_only=True):
    """One piece of a node's work. ``attempt`` counts from 1 once it has started; ``item`` is the map's."""

    status: UnitStatus = "queued"
    attempt: int = 0
    work_id: str = ""
    item: Any = None
    output: Any = None
    error: WorkError | None = None
    wake_ms: int | None = None


class NodeState(Part, frozen=True, kw_only=True):
    """``place`` is the number of the node among those that completed, by which they are undone in reverse."""

    status: NodeStatus = "pending"
    units: tuple[Unit, ...] = ()
    output: Any = None
    error: WorkError | None = None
    place: int = 0
    undo: Unit | None = None


class RunState(Part, frozen=True, kw_only=True):
    """A run. ``ending`` is what becomes of it when its compensations are done; ``edges`` are in the order of the plan's."""

    tenant: str
    run_id: str
    status: RunStatus = "running"
    input: Any = None
    nodes: dict[str, NodeState] = {}
    edges: tuple[EdgeStatus, ...] = ()
    completed: int = 0
    ending: Literal["fail", "cancel"] | None = None
    output: Any = None
    error: WorkError | None = None
    signals: dict[str, Any] = {}

    def units(self) -> Iterator[tuple[str, int | None, Unit]]:
        """Every unit with its node and its number; None for the compensation's."""
        for name, node in self.nodes.items():
            for number, unit in enumerate(node.units):
                yield name, number, unit
            if node.undo is not None:
                yield name, None, node.undo

    def wakes_ms(self) -> int | None:
        """When the run next waits for a time; None if it doesn't. A paused run makes no new attempts."""
        if self.status in ENDED:
            return None
        idle = {"backoff"} if self.status == "paused" else set()
        times = [unit.wake_ms for _, _, unit in self.units() if unit.wake_ms is not None and unit.status not in idle]
        return min(times, default=None)
