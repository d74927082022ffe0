"""``agent.jobs``: protocol v1.0 as producers write it, and the optional fields that v1.1 adds.

A *run* is one invocation of one agent; its id is the ``job_id``. The protocol's own ``run_id`` names the caller's workflow
run (many jobs may share it) and is carried through untouched.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from headrace.messages.base import JsonObject, Message, Part
from headrace.messages.event import Event

DEFAULT_AGENT = "assistant"  # who takes a v1.0 job, which names no agent
DEFAULT_TENANT = "default"


class PreviousResult(Part):
    """A result of an earlier node of the caller's workflow."""

    node_id: str
    result_ref: str | None = None
    preview: Any = None


class JobContext(Part):
    """What the caller knows: earlier results, its workflow's state, the conversation."""

    previous_results: tuple[PreviousResult, ...] = ()
    workflow_state: JsonObject = Field(default_factory=dict)
    session_id: str | None = Field(default=None, max_length=256)


_HAS_WORK: JsonObject = {  # what ``Job._has_work`` checks, as JSON Schema
    "anyOf": [
        {"required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
        {"required": ["input"], "properties": {"input": {"not": {"type": "null"}}}},
        {"required": ["event"], "properties": {"event": {"type": "object"}}},
    ]
}


class Job(Message):
    """A request for one agent run."""

    model_config = ConfigDict(json_schema_extra=_HAS_WORK)

    TOPIC: ClassVar[str] = "agent.jobs"
    TYPE: ClassVar[str] = "dev.headrace.agent.job"

    version: str = Field(default="1.1", pattern=r"^1\.[0-9]+$")
    job_id: str = Field(min_length=1, max_length=128)
    run_id: str | None = Field(default=None, max_length=256, description="The caller's workflow run")
    node_id: str | None = Field(default=None, max_length=256)
    workflow_tag: str | None = None
    workflow_owner: str | None = None
    user_id: str | None = Field(default=None, max_length=256)
    prompt: str | None = None
    context: JobContext = JobContext()
    timeout_sec: float = Field(default=300, gt=0, le=86_400)
    retry_count: int = Field(default=0, ge=0)
    created_at: str | None = None

    # v1.1: optional only
    tenant: str = Field(default=DEFAULT_TENANT, min_length=1, max_length=128)
    agent: str = Field(default=DEFAULT_AGENT, min_length=1, max_length=128)
    agent_version: str | None = None
    input: Any = None
    event: Event | None = None
    partition_key: str | None = Field(default=None, max_length=512)
    idempotency_key: str | None = Field(default=None, max_length=256)
    replay_id: str | None = Field(default=None, max_length=128)
    reply_to: str | None = Field(default=None, max_length=249)

    @model_validator(mode="after")
    def _has_work(self) -> Self:
        if self.prompt is None and self.input is None and self.event is None:
            raise ValueError("a job needs one of prompt, input, event")
        return self

    def message_id(self) -> str:
        return self.job_id

    def record_key(self) -> str:
        return self.partition_key or self.context.session_id or self.job_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "runid": self.job_id, "agent": self.agent}
