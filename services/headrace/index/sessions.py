"""The queries behind ``GET /v1/sessions`` and ``headrace sessions``: always within one tenant, always bounded."""

from __future__ import annotations

from typing import Final

import asyncpg

from headrace.blobs import BlobStore
from headrace.control.session_queue import IN_LINE
from headrace.index.conversation import conversation
from headrace.index.views import SessionPage, SessionRunView, SessionSummary, SessionView
from headrace.messages.run import SessionState
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text

MAX_RUNS: Final = 200  # of one session that are shown
_LIST: Final = """
SELECT session_id, count(*) AS runs, min(completed_at) AS first_at, max(completed_at) AS last_at FROM session_runs
WHERE tenant = $1 GROUP BY session_id ORDER BY last_at DESC, session_id LIMIT $2
"""
_RUNS: Final = """
SELECT run_id, turns, agent_name, status, completed_at, head, stored, result_ref FROM session_runs
WHERE tenant = $1 AND session_id = $2 ORDER BY turns DESC, completed_at DESC, run_id LIMIT $3
"""
_USAGE: Final = """
SELECT key, sum(value::bigint)::bigint AS used FROM session_runs CROSS JOIN LATERAL jsonb_each_text(pipeline_usage)
WHERE tenant = $1 AND session_id = $2 GROUP BY key ORDER BY key
"""


class SessionIndex:
    """Reads on a pool; conversations are in the blob store. All methods raise ``DependencyUnavailable`` when either is away."""

    def __init__(self, pool: asyncpg.Pool, blobs: BlobStore) -> None:
        self._pool = pool
        self._blobs = blobs

    async def sessions(self, tenant: str, *, limit: int = 50) -> SessionPage:
        """The ``limit`` sessions that were used last."""
        with translated():
            rows = await self._pool.fetch(_LIST, storable_text(tenant), limit)
        return SessionPage(sessions=tuple(SessionSummary(**row) for row in rows))

    async def session(self, tenant: str, session_id: str) -> SessionView | None:
        """None where no run of the session has ended or is in line. Raises ``BadMessage`` if its conversation can't be read."""
        name = storable_text(tenant), storable_text(session_id)
        with translated():
            async with self._pool.acquire() as connection:
                runs = await connection.fetch(_RUNS, *name, MAX_RUNS)
                used = await connection.fetch(_USAGE, *name)
                in_line = await connection.fetch(IN_LINE, *name, MAX_RUNS)
        if not runs and not in_line:
            return None
        state = _state(runs[0]) if runs else SessionState()
        return SessionView(
            session_id=session_id,
            turns=state.turns,
            conversation_history=await conversation(self._blobs, state.head, state.stored),
            last_result_ref=state.result_ref,
            pipeline_usage={row["key"]: row["used"] for row in used},
            runs=tuple(SessionRunView(**{name: row[name] for name in SessionRunView.model_fields}) for row in runs),
            in_line=tuple(row["run_id"] for row in in_line),
        )


def _state(row: asyncpg.Record) -> SessionState:
    return SessionState(turns=row["turns"], head=row["head"], stored=row["stored"], result_ref=row["result_ref"])
