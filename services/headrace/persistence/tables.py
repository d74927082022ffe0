"""The tables that persistence writes, and one ``INSERT ... ON CONFLICT`` for a batch of rows of each.

A batch goes as one array per column (``unnest``): no temporary table, one round trip, and one prepared statement
whatever the number of rows. Every statement may be repeated without changing what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.persistence.merge import RUN_COLUMNS, RUN_KEY

_RUN_TYPES: Final = {
    "precedence": "bigint",
    "created_at": "timestamptz",
    "started_at": "timestamptz",
    "completed_at": "timestamptz",
    "forked_step": "integer",
    "steps": "integer",
    "tool_calls": "integer",
    "model_calls": "bigint",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cache_read_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "cost_usd": "float8",
    "latency_ms": "bigint",
    "error": "jsonb",
    "input_preview": "jsonb",
    "outcome": "jsonb",
}


@dataclass(frozen=True, slots=True)
class Table:
    """``columns`` (name -> type) are in the order of its rows; ``conflict`` says what happens to a row whose key is stored."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    conflict: str

    @property
    def insert(self) -> str:
        """The statement; its parameters are one array per column."""
        names = ", ".join(map(_quoted, self.columns))
        arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(self.columns.values(), 1))
        key = ", ".join(map(_quoted, self.key))
        return (
            f"INSERT INTO {self.name} ({names}) SELECT * FROM unnest({arrays}) "  # noqa: S608 (constants of this file)
            f"ON CONFLICT ({key}) DO {self.conflict}"
        )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _run_conflict() -> str:
    """``merge.merged`` in SQL: the stored row is first."""
    special = {"precedence": "greatest", "created_at": "least"}
    parts = []
    for name in RUN_COLUMNS:
        if name in RUN_KEY:
            continue
        if name in special:
            parts.append(f"{name} = {special[name]}(runs.{name}, excluded.{name})")
        else:
            parts.append(
                f"{name} = CASE WHEN excluded.precedence > runs.precedence "
                f"THEN coalesce(excluded.{name}, runs.{name}) ELSE coalesce(runs.{name}, excluded.{name}) END"
            )
    return "UPDATE SET " + ", ".join(parts)


def _earliest(table: str, columns: dict[str, str], key: str, place: tuple[str, ...]) -> str:
    """Of two rows with one key, keep the one whose ``place`` is first."""
    parts = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name != key)
    new, old = (", ".join(f'{side}."{name}"' for name in place) for side in ("excluded", table))
    return f"UPDATE SET {parts} WHERE ({new}) < ({old})"


_EVENT_COLUMNS: Final = {
    "uid": "text",
    "tenant": "text",
    "id": "text",
    "source": "text",
    "type": "text",
    "subject": "text",
    "time": "timestamptz",
    "received_at": "timestamptz",
    "partition_key": "text",
    "actor": "text",
    "url": "text",
    "severity": "text",
    "data_preview": "jsonb",
    "topic": "text",
    "partition": "integer",
    "offset": "bigint",
}
_RESULT_COLUMNS: Final = {
    "result_id": "uuid",
    "job_id": "text",
    "run_id": "text",
    "node_id": "text",
    "result_data": "jsonb",
    "cas_id": "text",
    "status": "text",
    "error": "jsonb",
    "tool_calls": "jsonb",
    "tokens_used": "integer",
    "cache_hit": "boolean",
    "execution_time_ms": "integer",
    "created_at": "timestamptz",
    "completed_at": "timestamptz",
    "tenant": "text",
}

_SESSION_COLUMNS: Final = {
    "tenant": "text",
    "session_id": "text",
    "run_id": "text",
    "turns": "integer",
    "agent_name": "text",
    "status": "text",
    "completed_at": "timestamptz",
    "head": "text",
    "stored": "integer",
    "result_ref": "text",
    "pipeline_usage": "jsonb",
}

RUNS: Final = Table("runs", {name: _RUN_TYPES.get(name, "text") for name in RUN_COLUMNS}, RUN_KEY, _run_conflict())
STEPS: Final = Table(
    "run_steps",
    {
        "topic": "text",
        "partition": "integer",
        "offset": "bigint",
        "tenant": "text",
        "run_id": "text",
        "kind": "text",
        "step": "integer",
        "at": "timestamptz",
        "bytes": "integer",
        "summary": "jsonb",
    },
    ("topic", "partition", "offset"),
    "NOTHING",
)
RESULTS: Final = Table(
    "agent_results",
    _RESULT_COLUMNS,
    ("result_id",),
    _earliest("agent_results", _RESULT_COLUMNS, "result_id", ("created_at",)),
)
EVENTS: Final = Table(
    "events",
    _EVENT_COLUMNS,
    ("uid",),
    _earliest("events", _EVENT_COLUMNS, "uid", ("received_at", "partition", "offset")),
)
SESSION_RUNS: Final = Table(
    "session_runs",
    _SESSION_COLUMNS,
    ("tenant", "run_id"),
    _earliest("session_runs", _SESSION_COLUMNS, "run_id", ("completed_at",)),
)
