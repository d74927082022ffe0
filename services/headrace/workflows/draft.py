"""A run while one event is applied to it: the state that is replaced step by step, and the commands that come of it.

Every change of a status goes by its table (``state``). A step that the table of units or of runs does not have changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

from headrace.messages.ids import work_id
from headrace.messages.workflow import WorkError
from headrace.registry.filters import FilterFailed
from headrace.workflows.definition import Body, Node
from headrace.workflows.events import Begin, Command, Stop
from headrace.workflows.graph import Plan
from headrace.workflows.state import NODE, RUN, UNIT, RunState, Unit
from headrace.workflows.views import body_of

LOCAL: Final = frozenset({"condition", "join", "wait", "timer"})  # nobody else works on these


class Draft:
    """What the run becomes, and what it wants done. ``now_ms`` is the event's time."""

    def __init__(self, plan: Plan, state: RunState, now_ms: int) -> None:
        self.plan = plan
        self.now_ms = now_ms
        self.state = state.replace(nodes=dict(state.nodes))
        self.commands: list[Command] = []

    @property
    def who(self) -> tuple[str, str]:
        """Tenant and id of the run."""
        return self.state.tenant, self.state.run_id

    def unit(self, name: str, number: int | None, unit: Unit, verb: str, **changes: Any) -> None:
        """Put ``unit`` one step of its table further."""
        status = UNIT.get((unit.status, verb))
        if status is None:
            return
        moved = unit.replace(status=status, **changes)
        node = self.state.nodes[name]
        if number is None:
            self.node(name, undo=moved)
        else:
            self.node(name, units=(*node.units[:number], moved, *node.units[number + 1 :]))

    def node(self, name: str, verb: str | None = None, **changes: Any) -> None:
        """Change a node, by ``verb`` of its table if one is given."""
        node = self.state.nodes[name]
        status = node.status if verb is None else NODE[node.status, verb]
        self.state = self.state.replace(nodes={**self.state.nodes, name: node.replace(status=status, **changes)})

    def run(self, verb: str, **changes: Any) -> bool:
        """Put the run one step of its table further; False if there is no such step."""
        status = RUN.get((self.state.status, verb))
        if status is not None:
            self.state = self.state.replace(status=status, **changes)
        return status is not None

    def begin(self, node: Node, number: int | None, unit: Unit, body: Body, config: Any, place: str) -> None:
        """Have ``body`` done for a unit; ``place`` tells those of one node apart in the id of the work."""
        attempt = unit.attempt + 1
        id_ = work_id(*self.who, node.id, place, attempt)
        self.unit(node.id, number, unit, "start", attempt=attempt, work_id=id_, wake_ms=self.timeout(node))
        self.commands.append(
            Begin(work_id=id_, node=node.id, type=body.type, config=config, attempt=attempt, timeout_s=node.timeout_s)
        )

    def ended(self, name: str, number: int | None, unit: Unit, output: Any, error: WorkError | None) -> None:
        """An attempt is over: the unit is done, tried again later, or failed."""
        retry = self.plan.nodes[name].retry
        if error is None:
            self.unit(name, number, unit, "succeed", output=output, error=None, wake_ms=None)
        elif unit.attempt < retry.max_attempts:
            pause = retry.pause_ms(unit.attempt)
            self.unit(name, number, unit, "retry", error=error, wake_ms=self.now_ms + pause)
        else:
            self.unit(name, number, unit, "fail", error=error, wake_ms=None)

    def break_off(self, ending: Any, error: WorkError) -> None:
        """Stop all that is under way; then compensate."""
        if not self.run("break", ending=ending, error=error):
            return
        for name, node in list(self.state.nodes.items()):
            if node.status in ("pending", "running"):
                self.halt(name)
                self.node(name, "cancel")

    def halt(self, name: str) -> None:
        """Stop and cancel all units of a node."""
        for number, unit in enumerate(self.state.nodes[name].units):
            self.stop(name, number, unit)
            self.unit(name, number, unit, "cancel", wake_ms=None)

    def stop(self, name: str, number: int | None, unit: Unit) -> None:
        """Say that a unit's work is not wanted any more, if somebody else is at it."""
        node = self.plan.nodes[name]
        if unit.status == "running" and (number is None or node.type not in LOCAL):
            self.commands.append(Stop(work_id=unit.work_id, type=body_of(node, number).type))

    def timeout(self, node: Node) -> int | None:
        """When an attempt that begins now is over at the latest."""
        return None if node.timeout_s is None else self.now_ms + int(1_000 * node.timeout_s)


def unusable(error: FilterFailed, where: str = "") -> WorkError:
    """An expression that gives nothing here: what kind of fault it is, without the values that it quotes."""
    return WorkError(type="expression", message=where + str(error).partition(":")[0])
