"""``agent.results``: the output message of protocol v1.0 field for field, with optional fields after it.

It travels as Avro for data platforms; fields marked ``FREE_FORM`` are JSON text there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import Format, JsonObject, Message, Part, Version
from headrace.messages.lineage import ForkedFrom
from headrace.messages.run import SessionState, Turn, Usage

FREE_FORM = Meta(extra_json_schema={"x-json-text": True})  # any JSON value, carried as JSON text in Avro
FreeForm = Annotated[Any, FREE_FORM]
Milliseconds = Annotated[int, Meta(description="Epoch milliseconds")]


class ToolCallSummary(Part, frozen=True, kw_only=True):
    """One tool call, as the protocol's metadata lists it."""

    tool: str
    args: Annotated[JsonObject, FREE_FORM]


class ResultMetadata(Part, frozen=True, kw_only=True):
    """Protocol v1.0 ``metadata``."""

    tool_calls: tuple[ToolCallSummary, ...] = ()
    tokens_used: int = 0
    cache_hit: bool = False
    execution_time_ms: int = 0
    llm_model: str = ""


class ResultError(Part, frozen=True, kw_only=True):
    """Protocol v1.0 ``error``; ``type`` is a stable code such as ``model_error``, ``limit_tokens``, ``output_schema``."""

    type: str
    message: str
    retryable: bool = False
    tool: str | None = None
    step: str | None = None
    retry_at: Annotated[
        str | None, Meta(description="When trying again makes sense (RFC 3339), where that is known")
    ] = None


class SessionTurn(Part, frozen=True, kw_only=True):
    """What a run took from its session, and what it left there."""

    found: SessionState
    left: SessionState
    pipeline_usage: Annotated[JsonObject, FREE_FORM]  # pipeline_<hash>: how often this run used it


class AgentResult(Message, frozen=True, kw_only=True):
    """How a run ended. ``output`` (or ``output_ref``) is the answer; ``result_ref`` resolves it over the API."""

    TOPIC: ClassVar[str] = "agent.results"
    TYPE: ClassVar[str] = "dev.headrace.agent.result"
    FORMAT: ClassVar[Format] = "avro"

    version: Version = "1.1"
    job_id: str
    status: Literal["completed", "failed"]
    result_ref: str | None = None
    result_preview: FreeForm = None
    metadata: Annotated[ResultMetadata, Meta(description="Protocol v1.0 omits it in a failure")] = ResultMetadata()
    error: ResultError | None = None
    completed_at: str

    # v1.1: optional only
    run_id: Annotated[str | None, Meta(description="The caller's workflow run, as the job gave it")] = None
    tenant: str = "default"
    node_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    agent_name: str = ""
    agent_version: str = ""
    definition_hash: str = ""
    prompt_hash: str = ""
    event_uid: str | None = None
    event_type: str | None = None
    event_source: str | None = None
    replay_id: str | None = None
    output: FreeForm = None
    output_ref: str | None = None
    turns: Annotated[tuple[Turn, ...], Meta(description="The model calls since the last record of the run")] = ()
    transcript_ref: Annotated[str | None, Meta(description="Newest stored segment of the conversation")] = None
    steps: int = 0
    started_ms: Milliseconds = 0
    completed_ms: Milliseconds = 0
    usage: Usage = Usage()
    parent_run_id: Annotated[str | None, Meta(description="The run that delegated this one")] = None
    delegated: Annotated[Usage, Meta(description="What its sub-agents spent, and theirs; not part of usage")] = Usage()
    descendants: Annotated[int, Meta(description="Runs begun below this one")] = 0
    session: Annotated[SessionTurn | None, Meta(description="Of a run in a session that began")] = None
    forked_from: Annotated[ForkedFrom | None, Meta(description="Of a fork")] = None

    def message_id(self) -> str:
        return f"{self.job_id}:result"

    def record_key(self) -> str:
        return self.job_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "runid": self.job_id, "agent": self.agent_name}
