"""``agent.jobs``: protocol v1.0 as producers write it, and the optional fields that v1.1 adds.

A *run* is one invocation of one agent; its id is the ``job_id``. The protocol's own ``run_id`` names the caller's workflow
run (many jobs may share it) and is carried through untouched.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from headrace.messages.base import JsonObject, Message, Part, Version
from headrace.messages.event import Event
from headrace.messages.fork import Fork
from headrace.messages.run import DoubleTexting, Family

DEFAULT_AGENT = "assistant"  # who takes a v1.0 job, which names no agent
DEFAULT_TENANT = "default"

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Reference = Annotated[str, Meta(max_length=256)]


class PreviousResult(Part, frozen=True, kw_only=True):
    """A result of an earlier node of the caller's workflow."""

    node_id: str
    result_ref: str | None = None
    preview: Any = None


class JobContext(Part, frozen=True, kw_only=True):
    """What the caller knows: earlier results, its workflow's state, the conversation."""

    previous_results: tuple[PreviousResult, ...] = ()
    workflow_state: JsonObject = {}
    session_id: Reference | None = None


class CallAsked(Part, frozen=True, kw_only=True):
    """One tool call, to be made without a model. The agent's allow-list holds for it; the job's prompt is for readers."""

    tool: Name
    arguments: JsonObject = {}


HAS_WORK: JsonObject = {  # what a job checks of itself, as JSON Schema
    "anyOf": [
        {"required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
        {"required": ["input"], "properties": {"input": {"not": {"type": "null"}}}},
        {"required": ["event"], "properties": {"event": {"type": "object"}}},
    ]
}


class Job(Message, frozen=True, kw_only=True):
    """A request for one agent run."""

    TOPIC: ClassVar[str] = "agent.jobs"
    TYPE: ClassVar[str] = "dev.headrace.agent.job"

    version: Version = "1.1"
    job_id: Name
    run_id: Annotated[Reference | None, Meta(description="The caller's workflow run")] = None
    node_id: Reference | None = None
    workflow_tag: str | None = None
    workflow_owner: str | None = None
    user_id: Reference | None = None
    prompt: str | None = None
    context: JobContext = JobContext()
    timeout_sec: Annotated[float, Meta(gt=0, le=86_400)] = 300
    retry_count: Annotated[int, Meta(ge=0)] = 0
    created_at: str | None = None

    # v1.1: optional only
    tenant: Name = DEFAULT_TENANT
    agent: Name = DEFAULT_AGENT
    agent_version: str | None = None
    input: Any = None
    event: Event | None = None
    partition_key: Annotated[str, Meta(max_length=512)] | None = None
    idempotency_key: Reference | None = None
    replay_id: Annotated[str, Meta(max_length=128)] | None = None
    reply_to: Annotated[str, Meta(max_length=249)] | None = None
    stream_tokens: Annotated[bool, Meta(description="Tell on run.tokens what the model writes, while it writes")] = (
        False
    )
    family: Annotated[Family | None, Meta(description="Of a sub-agent's job; written by the mesh itself")] = None
    double_texting: Annotated[
        DoubleTexting | None, Meta(description="While its session is busy; default: as the agent says")
    ] = None
    call: CallAsked | None = None
    fork: Annotated[Fork | None, Meta(description="Of a fork's job; written by the mesh itself")] = None

    def __post_init__(self) -> None:
        if self.prompt is None and self.input is None and self.event is None:
            raise ValueError("a job needs one of prompt, input, event")

    def message_id(self) -> str:
        return self.job_id

    def record_key(self) -> str:
        return self.partition_key or self.context.session_id or self.job_id

    @property
    def canary_key(self) -> str:
        """What decides whether a canary gets it: its session, so that no turn of that is another version's than the one before; of
        a workflow's work the workflow run; else what orders it.
        """
        return self.context.session_id or self.run_id or self.record_key()

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "runid": self.job_id, "agent": self.agent}
