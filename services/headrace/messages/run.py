"""A run as a chain of self-contained records: ``tool.calls`` carries its continuation out, ``tool.results`` brings it back.

The continuation is what a stateless reasoner needs to go on: who runs (``RunInfo``), how far it is and what it has spent
(``Progress``), and the conversation (``Transcript``). The conversation is never copied whole: past a small inline tail it is
a linked list of immutable segments in the blob store, and a record carries the reference of the newest one. So a record's
size is bounded, and each message of the conversation is stored once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, JsonObject, Message, Part, Version
from headrace.messages.lineage import ForkedFrom

DoubleTexting = Literal["enqueue", "reject", "interrupt"]


class AgentRef(Part, frozen=True, kw_only=True):
    """Which definition runs: name, version, and hashes that tell whether it is still the same text."""

    name: str
    version: str
    definition_hash: str
    prompt_hash: str


class Family(Part, frozen=True, kw_only=True):
    """Where a sub-agent's run belongs, and what is left for it and all that it delegates to. Absent: nobody's child."""

    parent_run_id: str
    root_run_id: str
    depth: Annotated[int, Meta(ge=1, description="1: a child of the run that somebody asked for")]
    runs_left: Annotated[int, Meta(ge=0, description="Runs that may still be begun below this one")]
    max_tokens: Annotated[int, Meta(ge=1)]
    max_cost_usd: Annotated[float, Meta(gt=0)]


class SessionState(Part, frozen=True, kw_only=True):
    """What a session holds between two of its runs: its conversation by reference, and the newest result."""

    turns: Annotated[int, Meta(description="Runs that are in the conversation, or in its summary")] = 0
    head: Annotated[str | None, Meta(description="Newest stored segment of the conversation")] = None
    stored: Annotated[int, Meta(description="Entries in the segments")] = 0
    result_ref: Annotated[str | None, Meta(description="Newest result as cas://, which tools take as input_ref")] = None


class RunInfo(Part, frozen=True, kw_only=True):
    """What never changes during a run, but for the deadline: it moves by the time that the run waited for somebody."""

    tenant: str
    run_id: str
    agent: AgentRef
    model: Annotated[str, Meta(description="Resolved model, such as anthropic:claude-haiku-5-5 or offline")]
    started_ms: Annotated[int, Meta(description="Epoch milliseconds of the job record")]
    deadline_ms: int
    workflow_run_id: str | None = None
    node_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    event_uid: str | None = None
    event_type: str | None = None
    event_source: str | None = None
    replay_id: str | None = None
    reply_to: str | None = None
    stream_tokens: bool = False
    family: Family | None = None
    session: Annotated[SessionState | None, Meta(description="The session as the run found it")] = None
    toolset_ref: Annotated[
        str | None,
        Meta(description="Blob of the composite tools that this run is offered beside its agent's own tools"),
    ] = None
    direct: Annotated[bool, Meta(description="One tool call without a model: its outcome is the result")] = False
    forked_from: Annotated[ForkedFrom | None, Meta(description="Of a fork")] = None


class Usage(Part, frozen=True, kw_only=True):
    """Tokens and money of one or more model calls. ``input_tokens`` counts all input, cached or not."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    model_calls: int = 0

    def plus(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            model_calls=self.model_calls + other.model_calls,
        )

    @classmethod
    def of(cls, turns: Iterable[Turn]) -> Usage:
        """All of them together."""
        return reduce(cls.plus, (turn.usage for turn in turns), cls())

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Progress(Part, frozen=True, kw_only=True):
    """How far a run is: ``step`` counts its model turns that led to a record."""

    step: int = 0
    tool_calls: int = 0
    repairs: int = 0
    model_ms: int = 0
    tool_ms: int = 0
    cache_hits: Annotated[int, Meta(description="Tool calls that were answered from a cache")] = 0
    usage: Usage = Usage()
    delegated: Annotated[Usage, Meta(description="What sub-agents spent, and theirs; not part of usage")] = Usage()
    children: Annotated[int, Meta(description="Runs begun or reserved below this one so far")] = 0


class CallRequest(Part, frozen=True, kw_only=True):
    """A tool call as the model asked for it. ``arguments_ref`` stands in for arguments past the inline bound (then ``{}``)."""

    id: str
    name: str
    arguments: JsonObject
    arguments_ref: str | None = None


class Entry(Part, frozen=True, kw_only=True):
    """One message of the conversation. ``content_ref`` stands in for content that lives in the blob store."""

    role: Literal["user", "assistant", "tool"]
    content: str | None = None
    content_ref: str | None = None
    tool_calls: tuple[CallRequest, ...] = ()
    call_id: str | None = None
    tool: str | None = None
    is_error: bool = False


class Segment(Part, frozen=True, kw_only=True):
    """An immutable piece of a conversation in the blob store; ``previous`` is the segment before it."""

    previous: str | None = None
    entries: tuple[Entry, ...]


class OfferedTool(Part, frozen=True, kw_only=True):
    """A tool as a run's model is shown it, where its agent's definition does not say: a composite tool."""

    name: str
    version: str
    description: str
    parameters: JsonObject
    effect: Literal["none", "idempotent", "once"] = "none"


class Toolset(Part, frozen=True, kw_only=True):
    """What a run is offered beside its agent's own tools, in the blob store: the same at each of its steps, and when it
    is run again.
    """

    tools: tuple[OfferedTool, ...]


class Transcript(Part, frozen=True, kw_only=True):
    """The conversation so far: the newest stored segment, how many entries are in segments, and the entries after them."""

    head: str | None = None
    stored: int = 0
    tail: tuple[Entry, ...] = ()


class Turn(Part, frozen=True, kw_only=True):
    """One finished model call, as it was: a re-run answers from it. ``text`` may be in ``text_ref`` when large."""

    text: str | None = None
    text_ref: str | None = None
    tool_calls: tuple[CallRequest, ...] = ()
    usage: Usage = Usage()
    model: str
    stop_reason: str | None = None
    latency_ms: int = 0
    attempts: int = 1
    request_id: str | None = None


class ToolCall(Part, frozen=True, kw_only=True):
    """One call to execute. ``arguments_ref`` stands in for arguments past the inline bound."""

    call_id: str
    tool: str
    tool_version: str
    arguments: JsonObject = {}
    arguments_ref: str | None = None
    effect: Literal["none", "idempotent", "once"] = "none"
    idempotency_key: str


class ToolError(Part, frozen=True, kw_only=True):
    """Why a tool call failed, in words that the model may read."""

    type: str
    message: str
    retryable: bool = False
    step: str | None = None


class ToolOutcome(Part, frozen=True, kw_only=True):
    """What a tool call gave: JSON ``content`` inline, or ``content_ref`` with a small ``preview`` of it."""

    call_id: str
    tool: str
    tool_version: str
    status: Literal["ok", "error"]
    content: Any = None
    content_ref: str | None = None
    preview: Any = None
    error: ToolError | None = None
    duration_ms: int = 0
    cache_hit: Annotated[bool, Meta(description="Given from a cache, not computed for this call")] = False
    asked_live: Annotated[
        bool, Meta(description="In a shadow replay: asked of the tool, since nothing was recorded")
    ] = False


class Approval(Part, frozen=True, kw_only=True):
    """Somebody's yes to one call with exactly these arguments. ``proof`` binds it to its call (``ids.approval_proof``)."""

    call_id: str
    arguments_hash: str
    proof: str
    decided_by: str
    decided_ms: Annotated[int, Meta(description="Epoch milliseconds of the record of the decision")]
    edited: bool = False
    repeat: Annotated[bool, Meta(description="To a call that may have been made already: make it again")] = False


class Continuation(Message, frozen=True, kw_only=True):
    """What every record of a run that goes on carries."""

    schema_version: Version = SCHEMA_VERSION
    run: RunInfo
    progress: Progress
    transcript: Transcript

    def record_key(self) -> str:
        return self.run.run_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.run.tenant, "runid": self.run.run_id, "agent": self.run.agent.name}


class ToolCalls(Continuation, frozen=True, kw_only=True):
    """The calls of one model turn, and the continuation of the run that waits for them."""

    TOPIC: ClassVar[str] = "tool.calls"
    TYPE: ClassVar[str] = "dev.headrace.tool.calls"

    turns: Annotated[
        tuple[Turn, ...], Meta(description="The model calls since the last record; the last one asked for the calls")
    ]
    calls: Annotated[tuple[ToolCall, ...], Meta(min_length=1)]
    round: Annotated[int, Meta(ge=0, description="How often these calls were parked before")] = 0
    results: Annotated[
        tuple[ToolOutcome, ...], Meta(description="Outcomes of calls that are not to be made again")
    ] = ()
    approvals: tuple[Approval, ...] = ()

    def message_id(self) -> str:
        again = f":{self.round}" if self.round else ""
        return f"{self.run.run_id}:{self.progress.step}:calls{again}"


class ToolResults(Continuation, frozen=True, kw_only=True):
    """The outcomes of all calls of one turn, with the continuation that they were asked with."""

    TOPIC: ClassVar[str] = "tool.results"
    TYPE: ClassVar[str] = "dev.headrace.tool.results"

    results: Annotated[tuple[ToolOutcome, ...], Meta(min_length=1)]
    cancelled: Annotated[bool, Meta(description="The run was cancelled while it waited, and has to end")] = False

    def message_id(self) -> str:
        return f"{self.run.run_id}:{self.progress.step}:results"
