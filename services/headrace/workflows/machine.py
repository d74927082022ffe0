"""How a run of a workflow goes on: ``advance(plan, state, event, now_ms) -> (state, commands)``, and nothing else.

Pure: the clock is data, ids are derived, the same event on the same state gives the same commands. Which step may follow which is
said by the tables of ``state``; an event that fits none of them (an end that comes twice, a time that has passed, a signal for an
ended run) changes nothing.

A node may start when each edge into it is decided and one of them is taken; if none is, it is skipped, and so is what only it leads
to. When a node fails for good the run breaks: what is under way is stopped, and the completed nodes that have a compensation are
undone, the last one first, one after the other. A run that is cancelled goes the same way.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headrace.messages.ids import work_id
from headrace.messages.workflow import WorkError
from headrace.registry.filters import FilterFailed
from headrace.workflows.check import BRANCHES
from headrace.workflows.definition import Body, MapConfig, Node, TimerConfig, WaitConfig
from headrace.workflows.events import Asked, Begin, Command, End, Event, Finished, Signalled, Stop, Woken
from headrace.workflows.expressions import evaluate, passes, resolve
from headrace.workflows.graph import Plan
from headrace.workflows.state import ENDED, NODE, RUN, SETTLED, UNIT, EdgeStatus, NodeState, RunState, Unit
from headrace.workflows.views import beside, body_of, into, taken_into

_UNDO: Final = "undo"  # place of a compensation's unit
_LOCAL: Final = frozenset({"condition", "join", "wait", "timer"})  # nobody else works on these


def fresh(plan: Plan, tenant: str, run_id: str, input_: Any) -> RunState:
    """A run that has not begun."""
    return RunState(
        tenant=tenant,
        run_id=run_id,
        input=input_,
        nodes={name: NodeState() for name in plan.order},
        edges=tuple("open" for _ in plan.edges),
    )


def advance(plan: Plan, state: RunState, event: Event, now_ms: int) -> tuple[RunState, tuple[Command, ...]]:
    """The run after ``event``, which happened at ``now_ms``, and what it wants done."""
    if state.status in ENDED:
        return state, ()
    step = _Step(plan, state, now_ms)
    step.take(event)
    step.settle()
    return step.state, tuple(step.commands)


class _Step:
    """One event's consequences, gathered: ``state`` is replaced as they are found."""

    def __init__(self, plan: Plan, state: RunState, now_ms: int) -> None:
        self._plan = plan
        self._now_ms = now_ms
        self.state = state.replace(nodes=dict(state.nodes))
        self.commands: list[Command] = []

    def take(self, event: Event) -> None:
        match event:
            case Finished():
                self._finished(event)
            case Woken():
                self._woken()
            case Signalled(name=name, payload=payload) if name in self._awaited():
                self.state = self.state.replace(signals={**self.state.signals, name: payload})
            case Asked(what="cancel"):
                self._break("cancel", WorkError(type="cancelled"))
            case Asked(what=what):
                self._run(what)
            case _:
                pass

    def settle(self) -> None:
        """Whatever can follow now, until nothing more does."""
        while True:
            before = self.state
            if self.state.status == "compensating":
                self._compensate()
            else:
                self._follow()
            if self.state is before or self.state.status in ENDED:
                return

    # --- what a unit goes through

    def _finished(self, event: Finished) -> None:
        for name, number, unit in self.state.units():
            if unit.work_id == event.work_id and unit.status == "running":
                self._ended(name, number, unit, event.output, event.error)
                return

    def _woken(self) -> None:
        for name, number, unit in list(self.state.units()):
            if unit.wake_ms is None or unit.wake_ms > self._now_ms:
                continue
            if unit.status == "backoff" and self.state.status != "paused":
                self._unit(name, number, unit, "wake", wake_ms=None)
            elif unit.status == "running" and self._type(name, number) == "timer":
                self._ended(name, number, unit, None, None)
            elif unit.status == "running":
                self._stop(name, number, unit)
                self._ended(name, number, unit, None, WorkError(type="timeout", message="no end in time"))

    def _ended(self, name: str, number: int | None, unit: Unit, output: Any, error: WorkError | None) -> None:
        """An attempt is over: the unit is done, tried again later, or failed."""
        retry = self._plan.nodes[name].retry
        if error is None:
            self._unit(name, number, unit, "succeed", output=output, error=None, wake_ms=None)
        elif unit.attempt < retry.max_attempts:
            pause = retry.pause_ms(unit.attempt)
            self._unit(name, number, unit, "retry", error=error, wake_ms=self._now_ms + pause)
        else:
            self._unit(name, number, unit, "fail", error=error, wake_ms=None)

    def _unit(self, name: str, number: int | None, unit: Unit, verb: str, **changes: Any) -> None:
        """Put ``unit`` one step of its table further."""
        status = UNIT.get((unit.status, verb))
        if status is None:
            return
        moved = unit.replace(status=status, **changes)
        node = self.state.nodes[name]
        if number is None:
            self._node(name, undo=moved)
        else:
            self._node(name, units=(*node.units[:number], moved, *node.units[number + 1 :]))

    def _node(self, name: str, verb: str | None = None, **changes: Any) -> None:
        """Change a node, by ``verb`` of its table if one is given."""
        node = self.state.nodes[name]
        status = node.status if verb is None else NODE[node.status, verb]
        self.state = self.state.replace(nodes={**self.state.nodes, name: node.replace(status=status, **changes)})

    def _run(self, verb: str, **changes: Any) -> bool:
        """Put the run one step of its table further; False if there is no such step."""
        status = RUN.get((self.state.status, verb))
        if status is not None:
            self.state = self.state.replace(status=status, **changes)
        return status is not None

    # --- forwards

    def _follow(self) -> None:
        for name in self._plan.order:
            if self.state.status == "compensating":
                return
            node = self.state.nodes[name]
            if node.status == "pending" and self.state.status == "running":
                self._admit(name)
            if self.state.nodes[name].status == "running":
                self._attend(name)
        if self.state.status == "running" and all(node.status in SETTLED for node in self.state.nodes.values()):
            self._complete()

    def _admit(self, name: str) -> None:
        """Start the node, skip it, or leave it until the edges into it are decided."""
        edges = [self.state.edges[number] for number in self._plan.before[name]]
        node = self._plan.nodes[name]
        soon = node.type == "join" and node.config.get("need") == "any" and "taken" in edges
        if "open" in edges and not soon:
            return
        if edges and "taken" not in edges:
            self._node(name, "skip")
            self._decide(name, dead=True)
            return
        try:
            self._node(name, "start", units=self._units(node))
        except FilterFailed as error:
            self._node(name, "start")
            self._fail(name, _unusable(error))

    def _units(self, node: Node) -> tuple[Unit, ...]:
        if node.type != "map":
            return (Unit(),)
        config = msgspec.convert(node.config, MapConfig)
        items = evaluate(config.items, into(self._plan, self.state, node.id))
        if not isinstance(items, list):
            raise FilterFailed("items gave no list")
        if len(items) > config.max_items:
            raise FilterFailed(f"items gave {len(items)} of them, {config.max_items} allowed")
        return tuple(Unit(item=item) for item in items)

    def _attend(self, name: str) -> None:
        """Start what may start of a running node, hand it its signal, and see whether it has ended."""
        node = self._plan.nodes[name]
        if self.state.status == "running":
            self._start_units(node)
        if node.type == "wait":
            self._hear(node)
        state = self.state.nodes[name]
        if state.status != "running":
            return
        if failed := next((unit for unit in state.units if unit.status == "failed"), None):
            self._fail(name, failed.error or WorkError(type="failed"))
        elif all(unit.status == "done" for unit in state.units):
            outputs = [unit.output for unit in state.units]
            self._done(name, outputs if node.type == "map" else outputs[0])

    def _start_units(self, node: Node) -> None:
        units = self.state.nodes[node.id].units
        at_once = msgspec.convert(node.config, MapConfig).parallel if node.type == "map" else 1
        room = at_once - sum(unit.status == "running" for unit in units)
        for number, unit in enumerate(units):
            if unit.status == "queued" and room > 0 and self.state.nodes[node.id].status == "running":
                room -= 1
                self._start(node, number, unit)

    def _start(self, node: Node, number: int, unit: Unit) -> None:
        try:
            if node.type in _LOCAL:
                self._begin_local(node, number, unit)
                return
            body, view, place = body_of(node, number), into(self._plan, self.state, node.id), ""
            if node.type == "map":
                view |= {"item": unit.item, "index": number}
                place = str(number)
            self._begin(node, number, unit, body, resolve(body.config, view), place)
        except FilterFailed as error:
            self._fail(node.id, _unusable(error))

    def _begin_local(self, node: Node, number: int, unit: Unit) -> None:
        """A node that is done at once, or waits for a time or a signal."""
        attempt = unit.attempt + 1
        started = {"attempt": attempt, "work_id": work_id(*self._who, node.id, "", attempt)}
        wake_ms = self._timeout(node)
        output: Any = None
        if node.type == "timer":
            wake_ms = self._now_ms + int(1_000 * msgspec.convert(node.config, TimerConfig).seconds)
        elif node.type == "condition":
            output = passes(node.expr or node.config["expr"], into(self._plan, self.state, node.id))
        elif node.type == "join":
            taken = taken_into(self._plan, self.state, node.id)
            output = {edge.from_: self.state.nodes[edge.from_].output for edge in taken}
        self._unit(node.id, number, unit, "start", wake_ms=wake_ms, **started)
        if node.type in ("condition", "join"):
            self._unit(node.id, number, self.state.nodes[node.id].units[number], "succeed", output=output, wake_ms=None)

    def _begin(self, node: Node, number: int | None, unit: Unit, body: Body, config: Any, place: str) -> None:
        attempt = unit.attempt + 1
        id_ = work_id(*self._who, node.id, place, attempt)
        self._unit(node.id, number, unit, "start", attempt=attempt, work_id=id_, wake_ms=self._timeout(node))
        self.commands.append(
            Begin(work_id=id_, node=node.id, type=body.type, config=config, attempt=attempt, timeout_s=node.timeout_s)
        )

    def _hear(self, node: Node) -> None:
        """The signal that a waiting node is for, if it has come. One signal is for one node."""
        name = _signal_of(node)
        units = self.state.nodes[node.id].units
        if name in self.state.signals and units and units[0].status == "running":
            left = dict(self.state.signals)
            payload = left.pop(name)
            self.state = self.state.replace(signals=left)
            self._unit(node.id, 0, units[0], "succeed", output=payload, error=None, wake_ms=None)

    def _done(self, name: str, output: Any) -> None:
        self.state = self.state.replace(completed=self.state.completed + 1)
        self._node(name, "complete", output=output, place=self.state.completed)
        self._decide(name)

    def _fail(self, name: str, error: WorkError) -> None:
        """The node has failed for good: what is left of it is stopped, and the run breaks unless the node lets it go on."""
        self._halt(name)
        self._node(name, "fail", error=error)
        if self._plan.nodes[name].on_error == "continue":
            self._decide(name)
        else:
            self._break("fail", WorkError(type=error.type, message=f"node {name}: {error.message}"[:1_000]))

    def _decide(self, name: str, *, dead: bool = False) -> None:
        """Say of each edge out of an ended node whether it is taken."""
        edges = list(self.state.edges)
        try:
            for number in self._plan.after[name]:
                edges[number] = "dead" if dead else self._edge(name, number)
        except FilterFailed as error:
            self._break("fail", _unusable(error, f"edges of {name}: "))
            return
        self.state = self.state.replace(edges=tuple(edges))

    def _edge(self, name: str, number: int) -> EdgeStatus:
        condition = self._plan.edges[number].condition
        if condition is None:
            return "taken"
        if condition in BRANCHES:
            return "taken" if self.state.nodes[name].output is (condition == "true") else "dead"
        view = beside(self.state.nodes[name].output, self.state)
        return "taken" if passes(condition, view) else "dead"

    def _complete(self) -> None:
        """Every node has ended: the output is that of the last one, or of each last one by its id if there are more."""
        leaves = [name for name in self._plan.order if not self._plan.after[name]]
        outputs = {name: self.state.nodes[name].output for name in leaves if self.state.nodes[name].place}
        output = next(iter(outputs.values())) if len(leaves) == 1 and outputs else outputs
        self._run("complete", output=output)
        self.commands.append(End(status="completed", output=output))

    # --- backwards

    def _break(self, ending: Any, error: WorkError) -> None:
        """Stop all that is under way; then compensate."""
        if not self._run("break", ending=ending, error=error):
            return
        for name, node in list(self.state.nodes.items()):
            if node.status in ("pending", "running"):
                self._halt(name)
                self._node(name, "cancel")

    def _halt(self, name: str) -> None:
        for number, unit in enumerate(self.state.nodes[name].units):
            self._stop(name, number, unit)
            self._unit(name, number, unit, "cancel", wake_ms=None)

    def _stop(self, name: str, number: int | None, unit: Unit) -> None:
        node = self._plan.nodes[name]
        if unit.status == "running" and (number is None or node.type not in _LOCAL):
            self.commands.append(Stop(work_id=unit.work_id, type=body_of(node, number).type))

    def _compensate(self) -> None:
        """Undo the completed nodes, the last one first. An undoing that fails is noted, and the next one has its turn."""
        undoing = next((name for name, node in self.state.nodes.items() if node.status == "undoing"), None)
        if undoing is None:
            self._undo_next()
            return
        node, undo = self._plan.nodes[undoing], self.state.nodes[undoing].undo
        if undo is None or undo.status == "queued":
            self._undo(node, undo or Unit())
        elif undo.status in ("done", "failed"):
            self._node(undoing, "undone", error=undo.error if undo.status == "failed" else None)

    def _undo_next(self) -> None:
        undoable = [
            (node.place, name)
            for name, node in self.state.nodes.items()
            if node.status == "completed" and self._plan.nodes[name].compensation is not None
        ]
        if undoable:
            self._node(max(undoable)[1], "undo", undo=Unit())
            return
        ending = self.state.ending or "fail"
        self._run(ending)
        status: Any = self.state.status
        self.commands.append(End(status=status, error=self.state.error))

    def _undo(self, node: Node, unit: Unit) -> None:
        body = body_of(node, None)
        try:
            config = resolve(body.config, beside(self.state.nodes[node.id].output, self.state))
            self._begin(node, None, unit, body, config, _UNDO)
        except FilterFailed as error:
            self._node(node.id, undo=unit.replace(status="failed", error=_unusable(error)))

    # --- what the steps above look up

    @property
    def _who(self) -> tuple[str, str]:
        return self.state.tenant, self.state.run_id

    def _type(self, name: str, number: int | None) -> str:
        return "" if number is None else self._plan.nodes[name].type

    def _awaited(self) -> set[str]:
        """The signals that some node is for; others are not kept."""
        return {_signal_of(node) for node in self._plan.nodes.values() if node.type == "wait"}

    def _timeout(self, node: Node) -> int | None:
        return None if node.timeout_s is None else self._now_ms + int(1_000 * node.timeout_s)


def _signal_of(node: Node) -> str:
    return msgspec.convert(node.config, WaitConfig).signal or node.id


def _unusable(error: FilterFailed, where: str = "") -> WorkError:
    """An expression that gives nothing here: what kind of fault it is, without the values that it quotes."""
    return WorkError(type="expression", message=where + str(error).partition(":")[0])
