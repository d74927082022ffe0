"""``audit.events``: one entry per record of the mesh, chained by hash within each partition of its source topic.

An entry says where a record stands, what its bytes are (``record_digest``) and what it meant: ids, names, counts. It never holds
what a record says: no prompt, no output, no argument, no error text. What comes from outside is kept only where it is a name
(``headrace.audit.facts`` bounds it). How ``hash`` and ``record_digest`` are made is in ``headrace.audit.chain``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from headrace.messages.base import SCHEMA_VERSION, Format, Message

Kind = Literal[
    "event_received",  # ingest.raw
    "event_normalised",  # ingest.events
    "job_requested",  # agent.jobs
    "tool_called",  # tool.calls
    "tool_finished",  # tool.results
    "run_finished",  # agent.results
    "dead_lettered",  # *.dlq
    "agent_published",  # agent.definitions
    "undecodable",  # a record that is not what its topic declares: its digest alone
]
SHA256 = r"^[0-9a-f]{64}$"


class AuditEvent(Message):
    """One record of the mesh, as audited. Fields that do not apply to its kind are null or empty."""

    TOPIC: ClassVar[str] = "audit.events"
    TYPE: ClassVar[str] = "dev.headrace.audit.event"
    FORMAT: ClassVar[Format] = "avro"

    schema_version: str = Field(default=SCHEMA_VERSION, pattern=r"^1\.[0-9]+$")
    id: str = Field(description="Derived from source topic, partition and offset")
    kind: Kind
    tenant: str = "default"

    source_topic: str = Field(description="Without the cluster's prefix")
    source_partition: int = Field(ge=0)
    source_offset: int = Field(ge=0)
    source_timestamp_ms: int = Field(description="Of the record: epoch milliseconds")
    record_digest: str = Field(pattern=SHA256, description="SHA-256 of the record's key, value and headers as stored")

    sequence: int = Field(ge=0, description="Number of the entry in its chain, from 0")
    previous_offset: int | None = Field(
        default=None, description="Source offset of the entry before it; offsets between are of no record"
    )
    previous_hash: str = Field(pattern=SHA256, description="Hash of the entry before it; zeros for the first")
    hash: str = Field(pattern=SHA256, description="SHA-256 of previous_hash and everything else in the entry")

    record_id: str | None = Field(default=None, description="ce_id of the record")
    causation_id: str | None = None
    correlation_id: str | None = None
    run_id: str | None = Field(default=None, description="Of the agent run: the job id")
    workflow_run_id: str | None = None
    event_uid: str | None = None
    event_type: str | None = None
    event_source: str | None = None
    session_id: str | None = None
    replay_id: str | None = None
    user_id: str | None = None
    agent_name: str | None = None
    agent_version: str | None = None
    definition_hash: str | None = None
    prompt_hash: str | None = None
    model: str | None = None
    tools: tuple[str, ...] = Field(default=(), description="Tools called, in order, one entry a call")
    status: str | None = Field(
        default=None,
        description="run_finished: completed, failed; tool_finished: ok, error; agent_published: defined, live, deleted",
    )
    error_type: str | None = Field(default=None, description="Stable code of an error, never its text")
    service: str | None = Field(default=None, description="dead_lettered: whose dead letter it is")
    origin: str | None = Field(default=None, description="dead_lettered: topic/partition/offset of the record it was")
    model_calls: int | None = None
    tool_calls: int | None = Field(default=None, description="run_finished: of the whole run; else in this record")
    input_tokens: int | None = Field(
        default=None, description="run_finished: of the whole run; tool_called: of the model turns in this record"
    )
    output_tokens: int | None = Field(default=None, description="Counted as input_tokens")
    cost_usd: float | None = Field(default=None, description="Counted as input_tokens")
    duration_ms: int | None = Field(
        default=None, description="run_finished: job to result; tool_called: model time; tool_finished: tool time"
    )

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
