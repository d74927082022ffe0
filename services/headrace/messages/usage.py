"""``usage.windows``: what the agents of each tenant did in each span of time, counted from the audit log.

A window is announced each time it changed, at most every few seconds, with a ``revision`` that grows: the highest revision of a
``window_id`` is the window, and each announcement holds all of it, never a difference. ``final`` says that nothing more is
expected; a correction after that is another revision.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Self

from msgspec import Meta

from headrace.messages.base import SCHEMA_VERSION, Format, Message, Part, Version
from headrace.messages.totals import ACCURACY, Sums, Totals


class ModelUsage(Part, frozen=True, kw_only=True):
    """What one model did within a window. A run is its agent's model's, whatever else it called."""

    model: str
    runs: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class LatencyBucket(Part, frozen=True, kw_only=True):
    """Runs whose milliseconds are in (g^(index-1), g^index], g = (1 + accuracy) / (1 - accuracy); index 0: at most 1 ms."""

    index: int
    count: int


class UsageWindow(Message, frozen=True, kw_only=True):
    """Counts, error rate, tokens, cost and latency of one agent of one tenant in one window of time."""

    TOPIC: ClassVar[str] = "usage.windows"
    TYPE: ClassVar[str] = "dev.headrace.usage.window"
    FORMAT: ClassVar[Format] = "avro"

    schema_version: Version = SCHEMA_VERSION
    window_id: Annotated[str, Meta(description="tenant|agent|start|seconds")]
    tenant: str
    agent_name: str
    window_start: Annotated[str, Meta(description="ISO 8601, UTC; runs that finished at it or later are in the window")]
    window_end: Annotated[str, Meta(description="ISO 8601, UTC; the first moment after the window")]
    window_start_ms: Annotated[int, Meta(description="Epoch milliseconds")]
    window_seconds: Annotated[int, Meta(ge=1)]
    revision: Annotated[int, Meta(ge=1, description="Grows with each change; the highest one counts")]
    final: Annotated[bool, Meta(description="Nothing more is expected to change it")]

    runs: Annotated[int, Meta(ge=0)]
    completed: Annotated[int, Meta(ge=0)]
    failed: Annotated[int, Meta(ge=0)]
    error_rate: Annotated[float, Meta(ge=0, le=1, description="failed / runs")]
    input_tokens: Annotated[int, Meta(ge=0)]
    output_tokens: Annotated[int, Meta(ge=0)]
    cost_usd: Annotated[float, Meta(ge=0)]
    models: tuple[ModelUsage, ...] = ()

    latency_count: Annotated[int, Meta(description="Runs whose duration is known")] = 0
    latency_sum_ms: int = 0
    latency_max_ms: int = 0
    latency_p50_ms: Annotated[float | None, Meta(description="Nearest rank, within latency_accuracy")] = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_accuracy: Annotated[float, Meta(description="Greatest relative error of a percentile")] = ACCURACY
    latency_buckets: Annotated[
        tuple[LatencyBucket, ...], Meta(description="Sparse; counts of windows add up bucket by bucket")
    ] = ()

    def message_id(self) -> str:
        return f"{self.window_id}:{self.revision}"

    def record_key(self) -> str:
        return self.window_id

    def attributes(self) -> dict[str, str]:
        return {"tenant": self.tenant, "agent": self.agent_name}

    @classmethod
    def of(
        cls, tenant: str, agent: str, start_ms: int, seconds: int, totals: Totals, *, revision: int, final: bool
    ) -> Self:
        """The announcement of a window."""
        sums = totals.sums
        return cls(
            window_id=window_id(tenant, agent, start_ms, seconds),
            tenant=tenant,
            agent_name=agent,
            window_start=_iso(start_ms),
            window_end=_iso(start_ms + seconds * 1000),
            window_start_ms=start_ms,
            window_seconds=seconds,
            revision=revision,
            final=final,
            runs=sums.runs,
            completed=sums.runs - sums.failed,
            failed=sums.failed,
            error_rate=totals.error_rate,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=sums.cost_usd,
            models=tuple(_model(name, of_model) for name, of_model in sorted(totals.models.items())),
            latency_count=totals.latency_count,
            latency_sum_ms=totals.latency_sum_ms,
            latency_max_ms=totals.latency_max_ms,
            latency_p50_ms=totals.percentile(0.50),
            latency_p95_ms=totals.percentile(0.95),
            latency_p99_ms=totals.percentile(0.99),
            latency_buckets=tuple(
                LatencyBucket(index=index, count=count) for index, count in sorted(totals.latency.items())
            ),
        )


def window_id(tenant: str, agent: str, start_ms: int, seconds: int) -> str:
    """Name of a window: the same for each of its revisions."""
    return f"{tenant}|{agent}|{_iso(start_ms)}|{seconds}"


def _model(name: str, sums: Sums) -> ModelUsage:
    return ModelUsage(
        model=name,
        runs=sums.runs,
        failed=sums.failed,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=sums.cost_usd,
    )


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat().replace("+00:00", "Z")
