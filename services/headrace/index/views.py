"""What the index answers with. Times are UTC; None is "not known (yet)"."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

RunState = Literal["pending", "running", "completed", "failed"]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class StepView(_View):
    """One record of a run. ``bytes`` counts its key, value and headers; ``summary`` is bounded, and differs by ``kind``."""

    topic: str
    partition: int
    offset: int
    kind: Literal["job", "tool_calls", "tool_results", "wait", "result"]
    step: int
    at: datetime
    bytes: int
    summary: dict[str, Any]


class RunView(_View):
    """One run. ``steps`` is the number of its model turns that led to a record. Only a single run has ``records`` (those of its
    steps) and ``family`` (empty where nothing was delegated).
    """

    tenant: str
    run_id: str
    state: RunState
    agent_name: str | None
    agent_version: str | None
    definition_hash: str | None
    prompt_hash: str | None
    model: str | None
    event_uid: str | None
    event_type: str | None
    event_source: str | None
    event_subject: str | None
    user_id: str | None
    session_id: str | None
    workflow_run_id: str | None
    node_id: str | None
    replay_id: str | None
    parent_run_id: str | None
    root_run_id: str | None
    forked_from: str | None
    forked_step: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    steps: int = 0
    tool_calls: int = 0
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    latency_ms: int | None
    error: dict[str, Any] | None
    input_preview: Any
    outcome: Any
    result_ref: str | None
    records: tuple[StepView, ...] = ()
    family: tuple[Relative, ...] = ()


class Relative(_View):
    """A run of the same family: the one that somebody asked for, and all that were delegated from it down."""

    run_id: str
    parent_run_id: str | None
    agent_name: str | None
    state: RunState


class RunPage(_View):
    """Runs, newest first. ``cursor`` gives the next page; None: this is the last."""

    runs: tuple[RunView, ...]
    cursor: str | None


class StoredResult(_View):
    """A result resolved. ``data`` is its JSON value (bytes as text where a blob is not JSON); None for a failed run.

    ``run_id`` and ``status`` are known for ``artifact://`` references only.
    """

    ref: str
    data: Any
    run_id: str | None = None
    status: Literal["completed", "failed"] | None = None
    error: dict[str, Any] | None = None
    completed_at: datetime | None = None


class EventView(_View):
    """A canonical event. ``data_preview`` is bounded; the whole is the record at topic, partition, offset."""

    uid: str
    tenant: str
    id: str
    source: str
    type: str
    subject: str | None
    time: datetime | None
    received_at: datetime
    partition_key: str
    actor: str | None
    url: str | None
    severity: str | None
    data_preview: Any
    topic: str
    partition: int
    offset: int


class EventPage(_View):
    """Events, latest received first; ``cursor`` as in ``RunPage``."""

    events: tuple[EventView, ...]
    cursor: str | None


class Counts(_View):
    """How much the index holds: runs by state (exact), and the rest as the database's own estimate."""

    runs: dict[str, int]
    events: int
    steps: int
    blobs: int


class ModelUsageView(_View):
    """What one model did within a row of usage."""

    model: str
    runs: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class UsageView(_View):
    """What an agent did between two moments. Percentiles are nearest rank, within 2 %; None where no duration is known.

    ``final``: nothing more is expected to change it.
    """

    agent_name: str
    window_start: datetime
    window_end: datetime
    final: bool
    runs: int
    completed: int
    failed: int
    error_rate: float
    input_tokens: int
    output_tokens: int
    cost_usd: float
    latency_mean_ms: float | None
    latency_max_ms: int | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    models: tuple[ModelUsageView, ...]


class UsagePage(_View):
    """Usage from ``since`` until ``until``, newest first, then by agent."""

    since: datetime
    until: datetime
    usage: tuple[UsageView, ...]


class SaidView(_View):
    """One message of a session's conversation."""

    role: Literal["user", "assistant", "tool"]
    content: str


class SessionRunView(_View):
    """A run of a session that has ended. ``turns``: runs in the conversation after it."""

    run_id: str
    turns: int
    agent_name: str | None
    status: Literal["completed", "failed"]
    completed_at: datetime
    result_ref: str | None


class SessionView(_View):
    """A session as its newest run left it. ``in_line``: runs that are under way or wait, in their order.

    Of a longer session only the newest ``runs`` are shown; ``pipeline_usage`` counts all of them.
    """

    session_id: str
    turns: int
    conversation_history: tuple[SaidView, ...]
    last_result_ref: str | None
    pipeline_usage: dict[str, int]
    runs: tuple[SessionRunView, ...]
    in_line: tuple[str, ...]


class SessionSummary(_View):
    """A session in a list."""

    session_id: str
    runs: int
    first_at: datetime
    last_at: datetime


class SessionPage(_View):
    """Sessions, the last used one first."""

    sessions: tuple[SessionSummary, ...]
