"""``audit.events``: one entry per record of the mesh, chained by hash within each partition of its source topic.

An entry says where a record stands, what its bytes are (``record_digest``) and what it meant: ids, names, counts. It never holds
what a record says: no prompt, no output, no argument, no error text. What comes from outside is kept only where it is a name
(``headrace.audit.facts`` bounds it). How ``hash`` and ``record_digest`` are made is in ``headrace.audit.chain``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, Format, Message, Version

Kind = Literal[
    "event_received",  # ingest.raw
    "event_normalised",  # ingest.events
    "job_requested",  # agent.jobs
    "tool_called",  # tool.calls
    "tool_finished",  # tool.results
    "run_parked",  # run.waits
    "wait_completed",  # wait.completions
    "run_finished",  # agent.results
    "dead_lettered",  # *.dlq
    "agent_published",  # agent.definitions
    "budget_changed",  # budget.changes
    "workflow_signalled",  # workflow.signals
    "replay_acted",  # replay.actions
    "undecodable",  # a record that is not what its topic declares: its digest alone
]
SHA256 = r"^[0-9a-f]{64}$"
Digest = Annotated[str, Meta(pattern=SHA256)]


class AuditEvent(Message, frozen=True, kw_only=True):
    """One record of the mesh, as audited. Fields that do not apply to its kind are null or empty."""

    TOPIC: ClassVar[str] = "audit.events"
    TYPE: ClassVar[str] = "dev.headrace.audit.event"
    FORMAT: ClassVar[Format] = "avro"

    schema_version: Version = SCHEMA_VERSION
    id: Annotated[str, Meta(description="Derived from source topic, partition and offset")]
    kind: Kind
    tenant: str = "default"

    source_topic: Annotated[str, Meta(description="Without the cluster's prefix")]
    source_partition: Annotated[int, Meta(ge=0)]
    source_offset: Annotated[int, Meta(ge=0)]
    source_timestamp_ms: Annotated[int, Meta(description="Of the record: epoch milliseconds")]
    record_digest: Annotated[Digest, Meta(description="SHA-256 of the record's key, value and headers as stored")]

    sequence: Annotated[int, Meta(ge=0, description="Number of the entry in its chain, from 0")]
    previous_offset: Annotated[
        int | None, Meta(description="Source offset of the entry before it; offsets between are of no record")
    ] = None
    previous_hash: Annotated[Digest, Meta(description="Hash of the entry before it; zeros for the first")]
    hash: Annotated[Digest, Meta(description="SHA-256 of previous_hash and everything else in the entry")]

    record_id: Annotated[str | None, Meta(description="ce_id of the record")] = None
    causation_id: str | None = None
    correlation_id: str | None = None
    run_id: Annotated[str | None, Meta(description="Of the agent run: the job id")] = None
    workflow_run_id: str | None = None
    event_uid: str | None = None
    event_type: str | None = None
    event_source: str | None = None
    session_id: str | None = None
    replay_id: str | None = None
    user_id: Annotated[
        str | None,
        Meta(description="wait_completed: who decided, agent_published: who did it, by credential; replay_acted: who"),
    ] = None
    agent_name: str | None = None
    agent_version: str | None = None
    definition_hash: str | None = None
    prompt_hash: str | None = None
    model: str | None = None
    tools: Annotated[tuple[str, ...], Meta(description="Tools called, in order, one entry a call")] = ()
    status: Annotated[
        str | None,
        Meta(
            description="run_finished: completed, failed; tool_finished: ok, error; "
            "agent_published: defined, live, canary, rolled_back, deleted; "
            "run_parked: what it waits for; wait_completed: approve, deny, reported, due, cancelled; "
            "budget_changed: set, removed; replay_acted: what, and begun, completed, failed or interrupted"
        ),
    ] = None
    error_type: Annotated[str | None, Meta(description="Stable code of an error, never its text")] = None
    service: Annotated[
        str | None, Meta(description="dead_lettered: whose dead letter it is; replay_acted: whose offsets")
    ] = None
    origin: Annotated[
        str | None,
        Meta(
            description="dead_lettered: topic/partition/offset of the record it was; "
            "agent_published: the version before; replay_acted: what of history"
        ),
    ] = None
    model_calls: int | None = None
    tool_calls: Annotated[int | None, Meta(description="run_finished: of the whole run; else in this record")] = None
    input_tokens: Annotated[
        int | None, Meta(description="run_finished: of the whole run; tool_called: of the model turns in this record")
    ] = None
    output_tokens: Annotated[int | None, Meta(description="Counted as input_tokens")] = None
    cost_usd: Annotated[float | None, Meta(description="Counted as input_tokens")] = None
    duration_ms: Annotated[
        int | None, Meta(description="run_finished: job to result; tool_called: model time; tool_finished: tool time")
    ] = None

    def message_id(self) -> str:
        return self.id

    def record_key(self) -> str:
        return self.chain

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "kind": self.kind}

    @property
    def chain(self) -> str:
        """Which chain it belongs to, and the record's key: all entries of a source partition are in one partition, in order."""
        return f"{self.source_topic}/{self.source_partition}"
