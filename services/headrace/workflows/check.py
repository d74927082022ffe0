"""Whether a definition may be stored: everything beyond its types, each problem with its place.

What a definition names (agents, tools, workflows) is looked up through ``Known``; that it still exists when a run gets there is not
promised by anybody, so the run is told then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

import jsonschema_rs
import msgspec

from headrace.contracts.documents import part_schemas
from headrace.messages.agent import AgentDefinition, Trigger
from headrace.messages.base import JsonObject, Part
from headrace.registry.load import Path_, Problem
from headrace.registry.schemas import compile_schema, told, violations
from headrace.registry.triggers import problems as trigger_problems
from headrace.workflows.definition import (
    CONFIGS,
    AgentConfig,
    Edge,
    MapConfig,
    Node,
    SubWorkflowConfig,
    ToolConfig,
    WorkflowDefinition,
    WorkflowTrigger,
)
from headrace.workflows.expressions import faults, problems
from headrace.workflows.graph import find_cycle
from headrace.workflows.schedule import calendar_faults, schedule_faults

BRANCHES: Final = ("true", "false")  # what the edges of a condition node may say
_FIELDS: Final[Mapping[str, frozenset[str]]] = {  # what a trigger of a type may have
    "always": frozenset(),
    "whenever": frozenset({"source", "event", "filter"}),
    "schedule": frozenset({"every_s", "cron", "timezone"}),
}


class Agents(Protocol):
    """The catalogue of agents, as far as a check needs it."""

    def live(self, name: str) -> AgentDefinition | None: ...

    def get(self, name: str, version: str) -> AgentDefinition | None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What a definition may name. ``workflows``: the tags that are stored; its own is known in any case."""

    agents: Agents
    tools: Collection[str]
    workflows: Collection[str] = ()


def check_shape(value: Any) -> list[Problem]:
    """How ``value``, plain JSON, breaks the contract of a definition."""
    if not isinstance(value, dict):
        return [Problem("a workflow is a mapping of fields")]
    return list(_violations(WorkflowDefinition, value, ()))


def check(definition: WorkflowDefinition, known: Known) -> list[Problem]:
    """Everything that is wrong with ``definition`` beyond its shape; empty if it may be stored."""
    found = [*_ids(definition), *_edges(definition)]
    found += [Problem(reason, ("triggers",)) for reason in schedule_faults(definition.triggers)]
    for number, trigger in enumerate(definition.triggers):
        found += _trigger(trigger, ("triggers", number))
    for number, node in enumerate(definition.nodes):
        found += _node(node, ("nodes", number), _Names(definition.tag, known))
    return found


@dataclass(frozen=True, slots=True)
class _Names:
    tag: str
    known: Known


def _ids(definition: WorkflowDefinition) -> Iterator[Problem]:
    counts = Counter(node.id for node in definition.nodes)
    for number, node in enumerate(definition.nodes):
        if counts[node.id] > 1:
            yield Problem(f"the id {node.id!r} is used {counts[node.id]} times", ("nodes", number, "id"))


def _edges(definition: WorkflowDefinition) -> Iterator[Problem]:
    nodes = {node.id: node for node in definition.nodes}
    seen: set[tuple[str, str]] = set()
    for number, edge in enumerate(definition.edges):
        place: Path_ = ("edges", number)
        for end, name in (("from", edge.from_), ("to", edge.to)):
            if name not in nodes:
                yield Problem(f"there is no node {name!r}", (*place, end))
        if (edge.from_, edge.to) in seen:
            yield Problem(f"there is another edge from {edge.from_!r} to {edge.to!r}", place)
        seen.add((edge.from_, edge.to))
        yield from _edge_condition(edge, nodes.get(edge.from_), (*place, "condition"))
    if cycle := find_cycle(list(nodes), definition.edges):
        yield Problem(f"the edges make a cycle: {' -> '.join(cycle)}", ("edges",))


def _edge_condition(edge: Edge, source: Node | None, place: Path_) -> Iterator[Problem]:
    if edge.condition is None or source is None:
        return
    if edge.condition in BRANCHES:
        if source.type != "condition":
            yield Problem(f"{edge.condition!r} is for the edges of a condition node; {source.id!r} is none", place)
        return
    for reason in faults(edge.condition):
        yield Problem(reason, place)


def _trigger(trigger: WorkflowTrigger, place: Path_) -> Iterator[Problem]:
    allowed = _FIELDS[trigger.type]
    given = {name for names in _FIELDS.values() for name in names if getattr(trigger, name) not in (None, "*")}
    if trigger.type == "whenever" and trigger.event is None:
        yield Problem("a trigger of the type whenever needs it", (*place, "event"))
    if trigger.type == "schedule" and (trigger.every_s is None) == (trigger.cron is None):
        yield Problem("a trigger of the type schedule has either every_s or cron", place)
    if trigger.timezone is not None and trigger.cron is None:
        yield Problem("a time zone is that of a cron expression, and there is none", (*place, "timezone"))
    for name in sorted(given - allowed):
        yield Problem(f"not for a trigger of the type {trigger.type}", (*place, name))
    yield from (Problem(reason, (*place, name)) for name, reason in calendar_faults(trigger))
    if trigger.type == "whenever" and trigger.event is not None:
        for problem in trigger_problems(pattern_of(trigger)):
            field = "event" if problem.field == "type" else problem.field
            yield Problem(problem.message, (*place, field))


def pattern_of(trigger: WorkflowTrigger) -> Trigger:
    """A trigger of the type ``whenever`` as agents have them."""
    return Trigger(source=trigger.source, type=trigger.event or "", filter=trigger.filter)


def _node(node: Node, place: Path_, names: _Names) -> Iterator[Problem]:
    config: Path_ = (*place, "config")
    yield from _config(node.type, node.config, config, names)
    if node.type == "condition":
        yield from _condition(node, place)
    elif node.expr is not None:
        yield Problem(f"only a condition node has an expression, this is of the type {node.type}", (*place, "expr"))
    if node.compensation is not None:
        undo: Path_ = (*place, "compensation", "config")
        yield from _config(node.compensation.type, node.compensation.config, undo, names)


def _condition(node: Node, place: Path_) -> Iterator[Problem]:
    given = [text for text in (node.expr, node.config.get("expr")) if text is not None]
    if len(given) != 1:
        yield Problem("a condition node has one expression, here or in its config", (*place, "expr"))
    for reason in faults(given[0]) if given else ():
        yield Problem(reason, (*place, "expr"))


def _config(type_: str, config: JsonObject, place: Path_, names: _Names) -> Iterator[Problem]:
    """A config of the node or body type ``type_``: its shape, its expressions, and what it names."""
    wrong = list(_violations(CONFIGS[type_], config, place))
    yield from wrong
    yield from (Problem(reason, path) for path, reason in problems(config, place))
    if wrong:
        return
    read = msgspec.convert(config, CONFIGS[type_])
    match read:
        case AgentConfig():
            yield from _agent(read.agent, read.version, place, names)
            if (read.prompt is None) == (read.input is None):
                yield Problem("an agent has either a prompt or an input", place)
        case ToolConfig():
            yield from _tool(read, place, names)
        case SubWorkflowConfig(tag=tag) if tag != names.tag and tag not in names.known.workflows:
            yield Problem(f"there is no workflow {tag!r}", (*place, "tag"))
        case MapConfig(body=body, items=items):
            yield from (Problem(reason, (*place, "items")) for reason in faults(items))
            yield from _config(body.type, body.config, (*place, "body", "config"), names)


def _agent(name: str, version: str | None, place: Path_, names: _Names) -> Iterator[Problem]:
    agents = names.known.agents
    if agents.live(name) is None:
        yield Problem(f"there is no agent {name!r}", (*place, "agent"))
    elif version is not None and agents.get(name, version) is None:
        yield Problem(f"agent {name!r} has no version {version!r}", (*place, "version"))


def _tool(config: ToolConfig, place: Path_, names: _Names) -> Iterator[Problem]:
    if config.tool not in names.known.tools:
        yield Problem(f"there is no tool {config.tool!r}", (*place, "tool"))
        return
    agent = names.known.agents.live(config.agent)
    if agent is None:
        yield Problem(f"there is no agent {config.agent!r}", (*place, "agent"))
    elif config.tool not in agent.tools:
        yield Problem(f"agent {config.agent!r} may not use the tool {config.tool!r}", (*place, "agent"))


def _violations(contract: type[Part], value: Any, place: Path_) -> Iterator[Problem]:
    for error in violations(_validator(contract), value):
        yield from _described(error, place)


def _described(error: jsonschema_rs.ValidationError, place: Path_) -> Iterator[Problem]:
    path = (*place, *error.instance_path)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Required():
            yield Problem("is required", (*path, error.kind.property))
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties():
            yield from (Problem("there is no such field", (*path, name)) for name in error.kind.unexpected)
        case _:
            yield Problem(told(error), path)


@cache
def _validator(contract: type[Part]) -> jsonschema_rs.Validator:
    parts = part_schemas((contract,))
    return compile_schema({"$ref": f"#/$defs/{contract.__name__}", "$defs": parts})
