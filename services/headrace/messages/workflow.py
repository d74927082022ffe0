"""``workflow.signals``: what is said to runs of workflows, and what they say to others.

One topic for all of it, keyed by the run that it is said to, so that what is said to one run has an order:

    start      begin the run: which workflow, with which input
    finished   a piece of its work is done: a sub-workflow, or a task that somebody outside did
    tick       a time that the run waits for has come
    event      a named signal, for a node that waits for it
    pause, resume, cancel
    task       said by the run: a task for somebody outside, who answers with ``finished``

``kind`` says which of the other fields count. Agents and tools are asked with ``agent.jobs`` and answer with ``agent.results``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, JsonObject, Message, Part, Version

Kind = Literal["start", "finished", "tick", "event", "pause", "resume", "cancel", "task"]
_Name = Annotated[str, Meta(min_length=1, max_length=128)]


class WorkError(Part, frozen=True, kw_only=True):
    """Why a piece of work failed; ``type`` is a code such as ``timeout``, ``expression``, or the agent's own."""

    type: _Name
    message: str = ""


class WorkParent(Part, frozen=True, kw_only=True):
    """The run that waits for this one, and the piece of its work that this one is."""

    run_id: _Name
    work_id: _Name


class WorkStart(Part, frozen=True, kw_only=True):
    """What to run. Without a version it is the live one when the run begins."""

    tag: _Name
    version: Annotated[int, Meta(ge=1)] | None = None
    input: Any = None
    trigger: Literal["request", "event", "schedule", "workflow"] = "request"
    parent: WorkParent | None = None
    depth: Annotated[int, Meta(ge=0, description="How many workflows are above it")] = 0
    user_id: str | None = None


class WorkDone(Part, frozen=True, kw_only=True):
    """How a piece of work ended: with an output, or with an error."""

    work_id: _Name
    output: Any = None
    error: WorkError | None = None


class TaskAsked(Part, frozen=True, kw_only=True):
    """A task for somebody outside the mesh. ``config`` is the node's, with its expressions replaced by their values."""

    work_id: _Name
    node_id: str
    action: str
    config: JsonObject = {}
    attempt: int = 1
    timeout_s: float | None = None


class NamedSignal(Part, frozen=True, kw_only=True):
    """A signal for a node that waits."""

    name: _Name
    payload: Any = None


class WorkflowSignal(Message, frozen=True, kw_only=True):
    """One thing said to a run, or by it (``task``). ``id`` names it: the same id is the same signal, however often it comes."""

    TOPIC: ClassVar[str] = "workflow.signals"
    TYPE: ClassVar[str] = "dev.headrace.workflow.signal"

    schema_version: Version = SCHEMA_VERSION
    tenant: str = "default"
    run_id: _Name
    id: Annotated[str, Meta(min_length=1, max_length=256)]
    kind: Kind
    start: WorkStart | None = None
    done: WorkDone | None = None
    signal: NamedSignal | None = None
    task: TaskAsked | None = None
    at_ms: Annotated[int | None, Meta(description="tick: the time that has come, epoch milliseconds")] = None

    def message_id(self) -> str:
        return self.id

    def record_key(self) -> str:
        return self.run_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "runid": self.run_id, "kind": self.kind}
