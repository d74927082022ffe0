"""What a workflow is, as data: nodes, the edges between them, and what starts it.

A node is ``{id, type, config}``; what ``config`` may hold depends on the type (``CONFIGS``). Wherever a config takes a value, the
object ``{"$expr": "..."}`` stands for what that expression gives when the node starts (``expressions``). Unknown fields are
refused: a definition is written by people and models, and a misspelt field would be a silent no.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from msgspec import Meta

from headrace.messages.agent import AgentName, AgentVersion
from headrace.messages.base import JsonObject, Part
from headrace.messages.canonical import canonical_json
from headrace.messages.ids import short_hash
from headrace.messages.job import DEFAULT_AGENT

TAG: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
MAX_NODES: Final = 200
MAX_EDGES: Final = 1_000
MAX_ITEMS: Final = 1_000

Tag = Annotated[str, Meta(pattern=TAG)]
NodeId = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$")]
Expression = Annotated[str, Meta(min_length=1, max_length=2000)]
NodeType = Literal["agent", "tool", "task", "condition", "map", "join", "wait", "workflow", "timer"]
BodyType = Literal["agent", "tool", "task", "workflow"]
_Seconds = Annotated[float, Meta(gt=0, le=31 * 86_400)]


class Retry(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a failing node is tried in all, and the pause before the next attempt: ``delay_s``, then ``factor`` times it."""

    max_attempts: Annotated[int, Meta(ge=1, le=20)] = 1
    delay_s: Annotated[float, Meta(ge=0, le=86_400)] = 1.0
    factor: Annotated[float, Meta(ge=1, le=10)] = 2.0

    def pause_ms(self, attempt: int) -> int:
        """Milliseconds between attempt number ``attempt``, which failed, and the next; at most a day."""
        return int(1_000 * min(self.delay_s * self.factor ** (attempt - 1), 86_400))


class Body(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of work without a place in the graph: what a map does for each item, or what undoes a node."""

    type: BodyType
    config: JsonObject = {}


class Node(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step. ``timeout_s`` bounds each attempt; ``compensation`` undoes the completed node when the run fails later."""

    id: NodeId
    type: NodeType
    name: Annotated[str, Meta(max_length=256)] | None = None
    config: JsonObject = {}
    expr: Annotated[Expression | None, Meta(description="What a condition node decides by")] = None
    retry: Retry = Retry()
    timeout_s: _Seconds | None = None
    on_error: Annotated[
        Literal["fail", "continue"], Meta(description="fail: the run fails; continue: its edges are followed")
    ] = "fail"
    compensation: Body | None = None


class Edge(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``to`` may start when ``from`` has ended. ``condition``: an expression; of a condition node ``true`` or ``false``."""

    from_: Annotated[str, Meta(max_length=64)] = msgspec.field(name="from")
    to: Annotated[str, Meta(max_length=64)]
    condition: Expression | None = None


class WorkflowTrigger(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What starts it: ``always`` whenever somebody asks, ``whenever`` a matching event arrives, ``schedule`` every so often
    or by a calendar (``schedule`` says what a cron expression means).

    Anybody who may run it can also ask for a run of a workflow that has other triggers.
    """

    type: Literal["always", "whenever", "schedule"]
    source: Annotated[str, Meta(description="whenever: pattern of the event's source")] = "*"
    event: Annotated[str | None, Meta(description="whenever: pattern of the event's type")] = None
    filter: Annotated[Expression | None, Meta(description="whenever: an expression over the event")] = None
    every_s: Annotated[int, Meta(ge=1, le=31 * 86_400, description="schedule: every so many seconds")] | None = None
    cron: (
        Annotated[str, Meta(min_length=1, max_length=128, description="schedule: a cron expression of five fields")]
        | None
    ) = None
    timezone: (
        Annotated[str, Meta(max_length=64, description="schedule: of cron, by its IANA name; UTC unless given")] | None
    ) = None


class WorkflowDefinition(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a workflow. Immutable once stored: a change is a new version."""

    tag: Tag
    owner: Annotated[str, Meta(min_length=1, max_length=128)]
    description: Annotated[str, Meta(max_length=2000)] = ""
    triggers: tuple[WorkflowTrigger, ...] = (WorkflowTrigger(type="always"),)
    nodes: Annotated[tuple[Node, ...], Meta(min_length=1, max_length=MAX_NODES)]
    edges: Annotated[tuple[Edge, ...], Meta(max_length=MAX_EDGES)] = ()

    def document(self) -> JsonObject:
        """As JSON: its own fields whole, so that a patch finds them; of nodes, edges and triggers what is not at its default."""
        parts = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        shown: JsonObject = orjson.loads(orjson.dumps(parts))  # tuples are lists
        return shown

    @property
    def definition_hash(self) -> str:
        return short_hash(canonical_json(self.document()))


class AgentConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run an agent on ``prompt`` (anything but text becomes JSON) or on ``input``; null is an empty object."""

    agent: AgentName = DEFAULT_AGENT
    version: AgentVersion | None = None
    prompt: Any = None
    input: Any = None
    session_id: Any = None


class ToolConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Call a tool as ``agent`` may: by its allow-list of tools and hosts."""

    tool: str
    agent: AgentName = DEFAULT_AGENT
    arguments: JsonObject = {}


class TaskConfig(Part, frozen=True, kw_only=True):
    """Work for somebody outside: ``action`` says what, every other field is theirs."""

    action: Annotated[str, Meta(min_length=1, max_length=128)]


class ConditionConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The expression may stand here or on the node."""

    expr: Expression | None = None


class MapConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Do ``body`` for each element of the list that ``items`` gives, ``parallel`` of them at once; its expressions see ``item`` and
    ``index``. The output is the list of outputs.
    """

    items: Expression
    body: Body
    max_items: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = MAX_ITEMS
    parallel: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = 50


class JoinConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``all``: when every edge into it is decided and one was taken, as for any node. ``any``: with the first that is taken."""

    need: Literal["all", "any"] = "all"


class WaitConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wait for the signal of this name (default: the node's id); its payload is the output."""

    signal: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class SubWorkflowConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run another workflow and take over its output. Without a version: the live one when it starts."""

    tag: Tag
    version: Annotated[int, Meta(ge=1)] | None = None
    input: Any = None


class TimerConfig(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wait so long."""

    seconds: _Seconds


CONFIGS: Final[dict[str, type[Part]]] = {
    "agent": AgentConfig,
    "tool": ToolConfig,
    "task": TaskConfig,
    "condition": ConditionConfig,
    "map": MapConfig,
    "join": JoinConfig,
    "wait": WaitConfig,
    "workflow": SubWorkflowConfig,
    "timer": TimerConfig,
}
