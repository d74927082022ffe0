"""How a run of a workflow goes on: ``advance(plan, state, event, now_ms) -> (state, commands)``, and nothing else.

Pure: the clock is data, ids are derived, the same event on the same state gives the same commands. Which step may follow which is
said by the tables of ``state``; an event that fits none of them (an end that comes twice, a time that has passed, a signal for an
ended run) changes nothing.

``draft`` has the steps that all share, ``forwards`` what follows while the run goes on. When a node fails for good the run breaks:
what is under way is stopped, and the completed nodes that have a compensation are undone (``backwards``). A run that is cancelled
goes the same way.
"""

from __future__ import annotations

from typing import Any

from headrace.messages.workflow import WorkError
from headrace.workflows.backwards import compensate
from headrace.workflows.draft import Draft
from headrace.workflows.events import Asked, Command, Event, Finished, Signalled, Woken
from headrace.workflows.forwards import follow, signal_of
from headrace.workflows.graph import Plan
from headrace.workflows.state import ENDED, NodeState, RunState


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
    draft = Draft(plan, state, now_ms)
    _take(draft, event)
    _settle(draft)
    return draft.state, tuple(draft.commands)


def _take(draft: Draft, event: Event) -> None:
    match event:
        case Finished():
            _finished(draft, event)
        case Woken():
            _woken(draft)
        case Signalled(name=name, payload=payload) if name in _awaited(draft):
            draft.state = draft.state.replace(signals={**draft.state.signals, name: payload})
        case Asked(what="cancel"):
            draft.break_off("cancel", WorkError(type="cancelled"))
        case Asked(what=what):
            draft.run(what)
        case _:
            pass


def _settle(draft: Draft) -> None:
    """Whatever can follow now, until nothing more does."""
    while True:
        before = draft.state
        if draft.state.status == "compensating":
            compensate(draft)
        else:
            follow(draft)
        if draft.state is before or draft.state.status in ENDED:
            return


def _finished(draft: Draft, event: Finished) -> None:
    for name, number, unit in draft.state.units():
        if unit.work_id == event.work_id and unit.status == "running":
            draft.ended(name, number, unit, event.output, event.error)
            return


def _woken(draft: Draft) -> None:
    for name, number, unit in list(draft.state.units()):
        if unit.wake_ms is None or unit.wake_ms > draft.now_ms:
            continue
        if unit.status == "backoff" and draft.state.status != "paused":
            draft.unit(name, number, unit, "wake", wake_ms=None)
        elif unit.status == "running" and _type(draft, name, number) == "timer":
            draft.ended(name, number, unit, None, None)
        elif unit.status == "running":
            draft.stop(name, number, unit)
            draft.ended(name, number, unit, None, WorkError(type="timeout", message="no end in time"))


def _type(draft: Draft, name: str, number: int | None) -> str:
    return "" if number is None else draft.plan.nodes[name].type


def _awaited(draft: Draft) -> set[str]:
    """The signals that some node is for; others are not kept."""
    return {signal_of(node) for node in draft.plan.nodes.values() if node.type == "wait"}
