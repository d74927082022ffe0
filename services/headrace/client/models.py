"""What the API answers with, as far as a client needs it. Fields that a later gateway adds are passed over."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headrace.client.errors import RunFailed


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The run is durable."""

    run_id: str
    status_url: str


class Forked(Started, frozen=True, kw_only=True):
    """A new run, or with ``dry_run`` what it would be. ``taken``: what is not made again; ``anew``: where it begins, and the calls
    of that turn that are made. ``edited`` names what was changed.
    """

    agent: str
    forked_from: dict[str, Any]
    edited: list[str]
    taken: dict[str, Any]
    anew: dict[str, Any]


class LiveVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of an agent is live. ``canary`` has the version and the percentage of the keys that get it instead;
    ``replaced`` is what its keys had before ``change``; ``before`` is what was live before, the newest first.
    """

    name: str
    revision: int
    live_version: str | None
    canary: dict[str, Any] | None = None
    change: str | None = None
    replaced: str | None = None
    changed_by: str | None = None
    changed_at: str | None = None
    reason: str | None = None
    before: tuple[dict[str, Any], ...] = ()


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed. ``type`` is stable, for programs."""

    type: str
    message: str
    retryable: bool = False


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: with ``output`` (text, or the value of the agent's output schema) or with ``error``."""

    run_id: str
    state: Literal["completed", "failed"]
    output: Any = None
    error: RunError | None = None

    def result(self) -> Any:
        """The output. Raises ``RunFailed``."""
        if self.state == "completed":
            return self.output
        error = self.error or RunError(type="unknown", message="no error was told")
        raise RunFailed(self.run_id, error.type, error.message, retryable=error.retryable)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the index shows it. ``accepted``: durable, not indexed yet. Times are ISO 8601 in UTC."""

    run_id: str
    state: Literal["accepted", "pending", "running", "completed", "failed"]
    agent_name: str | None = None
    agent_version: str | None = None
    model: str | None = None
    event_type: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    latency_ms: int | None = None
    steps: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    error: RunError | None = None
    outcome: Any = None
    result_url: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ("completed", "failed")


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, newest first. ``cursor`` gives the next page; None: this is the last."""

    runs: tuple[Run, ...]
    cursor: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay as a job. ``planned``: it waits for a yes, with its ``estimate``. ``progress``: ``passed`` of ``total``, ``rate`` a
    second, ``eta_s``. Times are ISO 8601 in UTC.
    """

    replay_id: str
    kind: str  # a gateway may know more of them than this client
    state: Literal["queued", "planned", "running", "completed", "failed", "cancelled"]
    agent: str | None = None
    started_by: str | None = None
    estimate: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    spent_usd: float = 0.0
    error: str | None = None
    holder: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    began_at: str | None = None
    ended_at: str | None = None


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a run. ``type``: job, tool_calls, wait, tool_results or result; ``id`` is its place in the log.

    Of type ``tokens`` (without an id): what the model has written just now; ``data`` has ``step``, ``text``, and ``at``, its
    position in the turn's text. Pieces may be missing, and ``at`` 0 again says that the turn was begun anew: the result has it all.
    """

    id: str
    type: str
    data: dict[str, Any]
