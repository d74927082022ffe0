"""Small workflows, and a world without I/O that does the work of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.messages.workflow import WorkError
from headrace.registry.builtin import builtin_definitions
from headrace.registry.catalog import catalog_of
from headrace.toolspecs import SPECS
from headrace.workflows.check import Known
from headrace.workflows.definition import WorkflowDefinition
from headrace.workflows.events import Begin, Begun, Command, End, Event, Finished, Stop
from headrace.workflows.graph import Plan, plan_of
from headrace.workflows.load import load_value
from headrace.workflows.machine import advance, fresh
from headrace.workflows.state import RunState


def known(*tags: str) -> Known:
    return Known(catalog_of(builtin_definitions()), SPECS, tags)


def task(id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "task", "config": {"action": id_}} | more


def workflow(nodes: list[dict[str, Any]], *edges: Any, **more: Any) -> WorkflowDefinition:
    """``edges`` are pairs, or triples with a condition."""
    drawn = [dict(zip(("from", "to", "condition"), edge, strict=False)) for edge in edges]
    return load_value({"tag": "main", "owner": "sdutt", "nodes": nodes, "edges": drawn, **more}, known("other"))


class World:
    """A run of ``definition`` and the work that it has begun and nobody has finished."""

    def __init__(self, definition: WorkflowDefinition, input_: Any = None) -> None:
        self.plan: Plan = plan_of(definition)
        self.state: RunState = fresh(self.plan, "t", "run-1", input_)
        self.now_ms = 1_000
        self.open: dict[str, Begin] = {}
        self.begun: list[Begin] = []
        self.stopped: list[str] = []
        self.ends: list[End] = []
        self.send(Begun())

    def send(self, event: Event) -> tuple[Command, ...]:
        self.state, commands = advance(self.plan, self.state, event, self.now_ms)
        for command in commands:
            match command:
                case Begin():
                    self.open[command.work_id] = command
                    self.begun.append(command)
                case Stop():
                    self.open.pop(command.work_id, None)
                    self.stopped.append(command.work_id)
                case End():
                    self.ends.append(command)
        return commands

    def started(self) -> list[str]:
        """The nodes that have open work, as often as they have."""
        return sorted(begin.node for begin in self.open.values())

    def finish(self, node: str, output: Any = None, error: str | None = None) -> Finished:
        """End the first open work of ``node``; what was said."""
        work_id = next(id_ for id_, begin in self.open.items() if begin.node == node)
        del self.open[work_id]
        failed = WorkError(type=error) if error else None
        event = Finished(work_id=work_id, output=output, error=failed)
        self.send(event)
        return event

    def finish_all(self, answer: Callable[[Begin], Any]) -> None:
        while self.open:
            begin = next(iter(self.open.values()))
            self.finish(begin.node, answer(begin))

    def status(self, node: str) -> str:
        return self.state.nodes[node].status
