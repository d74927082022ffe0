"""How the records of one run become one row, whatever order they arrive in and however often.

Each record has a *precedence*, from its own content and place alone. A column's value is that of the record of highest precedence
that says anything about it, so merging is commutative, associative and idempotent as long as the records of a run agree on
what never changes during it (they carry the same ``RunInfo``). The same rule is written once here, for rows that meet in a
batch, and once in SQL (``persistence.tables``), for a row that meets the stored one; a property test holds them together.

    record          precedence            of two, wins
    job             <= 0                  the earlier one: the second of two jobs with one id is a duplicate
    calls, waits    2 * step + 1          the later step
    tool.results    2 * step + 2          the later step
    result          about 2**62           the earlier one
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from headrace.postgres.json import Document

_RESULT: Final = 2**62


@dataclass(slots=True, kw_only=True)
class RunRow:
    """What one record, or several merged, says about its run. None: nothing. The columns of ``runs``, in their order."""

    tenant: str
    run_id: str
    precedence: int
    state: str
    agent_name: str | None = None
    agent_version: str | None = None
    definition_hash: str | None = None
    prompt_hash: str | None = None
    model: str | None = None
    event_uid: str | None = None
    event_type: str | None = None
    event_source: str | None = None
    event_subject: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    workflow_run_id: str | None = None
    node_id: str | None = None
    replay_id: str | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    forked_from: str | None = None
    forked_step: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    steps: int | None = None
    tool_calls: int | None = None
    model_calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: int | None = None
    error: Document | None = None
    input_preview: Document | None = None
    outcome: Document | None = None
    result_ref: str | None = None


RUN_COLUMNS: Final = tuple(field.name for field in fields(RunRow))
RUN_KEY: Final = ("tenant", "run_id")
_BY_PRECEDENCE: Final = tuple(name for name in RUN_COLUMNS if name not in (*RUN_KEY, "precedence", "created_at"))


def job_precedence(timestamp_ms: int) -> int:
    return -max(0, timestamp_ms)


def calls_precedence(step: int) -> int:
    return 2 * step + 1


def results_precedence(step: int) -> int:
    return 2 * step + 2


def end_precedence(timestamp_ms: int) -> int:
    return _RESULT - max(0, timestamp_ms)


def merged(first: RunRow, second: RunRow) -> RunRow:
    """Both rows of one run as one. ``first`` wins a tie, as the stored row does."""
    low, high = (first, second) if second.precedence > first.precedence else (second, first)
    values: dict[str, Any] = {}
    for name in _BY_PRECEDENCE:
        value = getattr(high, name)
        values[name] = getattr(low, name) if value is None else value
    return RunRow(
        tenant=high.tenant,
        run_id=high.run_id,
        precedence=high.precedence,
        created_at=min(low.created_at, high.created_at),
        **values,
    )


def merge_all(rows: Iterable[RunRow]) -> list[RunRow]:
    """One row a run, in the order of the key: two writers that lock rows in one order can't deadlock."""
    by_run: dict[tuple[str, str], RunRow] = {}
    for row in rows:
        key = (row.tenant, row.run_id)
        known = by_run.get(key)
        by_run[key] = row if known is None else merged(known, row)
    return [by_run[key] for key in sorted(by_run)]
