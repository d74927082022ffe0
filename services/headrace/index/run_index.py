"""The queries behind ``GET /v1/runs`` and ``headrace runs``: always within one tenant, always bounded."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import orjson

from headrace.blobs import BlobStore
from headrace.index.paging import MAX_LIMIT, Query, encode_cursor
from headrace.index.views import Counts, EventPage, EventView, Relative, RunPage, RunView, StepView, StoredResult
from headrace.messages.errors import BadMessage, FatalError
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text

_NUMBERS: Final = (
    "steps",
    "tool_calls",
    "model_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_usd",
)
_RUN_COLUMNS: Final = ", ".join(
    f"coalesce({name}, 0) AS {name}" if name in _NUMBERS else name
    for name in RunView.model_fields
    if name not in ("records", "family")
)
_EVENT_COLUMNS: Final = ", ".join(f'"{name}"' for name in EventView.model_fields)
_RUN: Final = f"SELECT {_RUN_COLUMNS} FROM runs WHERE tenant = $1 AND run_id = $2"  # noqa: S608 (constants)
_ENDED: Final = """
SELECT run_id FROM runs WHERE tenant = $1 AND run_id = ANY ($2) AND state IN ('completed', 'failed')
"""
_STEPS: Final = """
SELECT topic, partition, "offset", kind, step, at, bytes, summary FROM run_steps WHERE tenant = $1 AND run_id = $2
ORDER BY kind = 'result', kind <> 'job', step, kind = 'tool_results', at, kind, topic, partition, "offset"
"""
_FAMILY: Final = """
SELECT run_id, parent_run_id, agent_name, state FROM runs
WHERE tenant = $1 AND (root_run_id = $2 OR (run_id = $2 AND EXISTS (SELECT FROM runs WHERE tenant = $1 AND root_run_id = $2)))
ORDER BY root_run_id IS NOT NULL, created_at, run_id LIMIT 1000
"""
_RESULT: Final = """
SELECT job_id, status, result_data, cas_id, error, completed_at FROM agent_results WHERE tenant = $1 AND result_id = $2
"""
_STATES: Final = "SELECT state, count(*) AS count FROM runs GROUP BY state"
_ESTIMATES: Final = """
SELECT relname, greatest(n_live_tup, 0) AS count FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND relname = ANY ($1)
"""
_ARTIFACT: Final = "artifact://"
_CAS: Final = "cas://"


class RunIndex:
    """Reads on a pool. All methods raise ``DependencyUnavailable`` when Postgres is away.

    ``blobs`` is needed only to resolve results that live there.
    """

    def __init__(self, pool: asyncpg.Pool, blobs: BlobStore | None = None) -> None:
        self._pool = pool
        self._blobs = blobs

    async def runs(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        state: str | None = None,
        event_type: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """A page of at most ``limit`` (1..500) runs. Raises ``BadMessage`` for a cursor that is not one of ours."""
        filters = {
            "tenant": tenant,
            "agent_name": agent,
            "state": state,
            "event_type": event_type,
            "session_id": session_id,
            "user_id": user_id,
        }
        rows, more = await self._page(Query("runs", "created_at", "run_id"), _RUN_COLUMNS, filters, limit, cursor)
        last = encode_cursor(rows[-1]["created_at"], rows[-1]["run_id"]) if more else None
        return RunPage(runs=tuple(RunView(**row) for row in rows), cursor=last)

    async def run(self, tenant: str, run_id: str) -> RunView | None:
        """A run with its ``records`` and ``family``; None if the index has none of that id."""
        name = storable_text(tenant), storable_text(run_id)
        with translated():
            row = await self._pool.fetchrow(_RUN, *name)
        if row is None:
            return None
        family = await self._family(tenant, row["root_run_id"] or run_id)
        return RunView(**row, records=await self.steps(tenant, run_id), family=family)

    async def ended(self, tenant: str, run_ids: Sequence[str]) -> set[str]:
        """Those of ``run_ids`` that have their result."""
        with translated():
            rows = await self._pool.fetch(_ENDED, storable_text(tenant), [storable_text(run_id) for run_id in run_ids])
        return {row["run_id"] for row in rows}

    async def steps(self, tenant: str, run_id: str) -> tuple[StepView, ...]:
        """The records of a run, in the order of the flow."""
        with translated():
            rows = await self._pool.fetch(_STEPS, storable_text(tenant), storable_text(run_id))
        return tuple(StepView(**row) for row in rows)

    async def _family(self, tenant: str, root: str) -> tuple[Relative, ...]:
        with translated():
            rows = await self._pool.fetch(_FAMILY, storable_text(tenant), storable_text(root))
        return tuple(Relative(**row) for row in rows)

    async def result(self, tenant: str, result_ref: str) -> StoredResult | None:
        """What ``artifact://<result id>`` or ``cas://sha256:<hex>`` stands for; None for an artifact that is not there (yet).

        A ``cas://`` reference can't be guessed, only learned from a record, and so needs no tenant.

        Raises:
            BadMessage: not a reference, or its blob is gone or damaged.
        """
        if result_ref.startswith(_CAS):
            return StoredResult(ref=result_ref, data=await self._blob(result_ref))
        result_id = _result_id(result_ref)
        with translated():
            row = await self._pool.fetchrow(_RESULT, storable_text(tenant), result_id)
        if row is None:
            return None
        data = row["result_data"] if row["cas_id"] is None else await self._blob(_CAS + row["cas_id"])
        return StoredResult(
            ref=result_ref,
            data=data,
            run_id=row["job_id"],
            status=row["status"],
            error=row["error"],
            completed_at=row["completed_at"],
        )

    async def events(
        self,
        tenant: str,
        *,
        type: str | None = None,
        source: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> EventPage:
        """A page of canonical events. Raises ``BadMessage`` for a cursor that is not one of ours."""
        filters = {"tenant": tenant, "type": type, "source": source}
        rows, more = await self._page(Query("events", "received_at", "uid"), _EVENT_COLUMNS, filters, limit, cursor)
        last = encode_cursor(rows[-1]["received_at"], rows[-1]["uid"]) if more else None
        return EventPage(events=tuple(EventView(**row) for row in rows), cursor=last)

    async def counts(self) -> Counts:
        """For ``status``. Counting the runs reads all of them; the rest costs nothing."""
        with translated():
            states = await self._pool.fetch(_STATES)
            estimates = await self._pool.fetch(_ESTIMATES, ["events", "run_steps", "blobs"])
        sizes = {row["relname"]: row["count"] for row in estimates}
        return Counts(
            runs={row["state"]: row["count"] for row in states},
            events=sizes.get("events", 0),
            steps=sizes.get("run_steps", 0),
            blobs=sizes.get("blobs", 0),
        )

    async def _page(
        self, query: Query, columns: str, filters: dict[str, str | None], limit: int, cursor: str | None
    ) -> tuple[Sequence[asyncpg.Record], bool]:
        limit = max(1, min(limit, MAX_LIMIT))
        query.where({name: None if value is None else storable_text(value) for name, value in filters.items()})
        query.after(cursor)
        sql = query.sql(columns, limit)
        with translated():
            rows = await self._pool.fetch(sql, *query.arguments)
        return rows[:limit], len(rows) > limit

    async def _blob(self, ref: str) -> Any:
        if self._blobs is None:
            raise FatalError("this index was made without a blob store")
        data = await self._blobs.get(ref)
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            return data.decode("utf-8", "replace")


def _result_id(ref: str) -> uuid.UUID:
    try:
        return uuid.UUID(ref.removeprefix(_ARTIFACT))
    except ValueError:
        raise BadMessage("not a result reference", cause="result_ref", where=ref[:80]) from None
