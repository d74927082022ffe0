"""Waits in Postgres. A wait's row is the lock on it: whatever settles its calls, on whichever instance, comes one after the other.

Every write may be repeated. A record that closed a wait, and is read again since its transaction was not committed, is told so
by its position, and gets the same closed wait again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from headrace.messages import ids
from headrace.messages.wait import PendingCall, RunWait
from headrace.orchestration.waits.settle import Question, Settled
from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text
from headrace.runtime.api import Context

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECODE_WAIT: Final = msgspec.json.Decoder(RunWait).decode
_DECODE_SETTLED: Final = msgspec.json.Decoder(Settled).decode
_KEY: Final = "tenant = $1 AND run_id = $2 AND step = $3 AND round = $4"
_PARK: Final = """
INSERT INTO waits (tenant, run_id, step, round, agent, parked_at, record, correlation)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""
_PARK_CALL: Final = """
INSERT INTO wait_calls
    (tenant, run_id, step, round, call_id, pending_id, kind, tool, arguments_hash, child_run_id, deadline, kube_job, look_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $12::text IS NULL THEN NULL ELSE now() END)
ON CONFLICT DO NOTHING
"""
_OPEN: Final = f"SELECT closed_by IS NULL FROM waits WHERE {_KEY}"  # noqa: S608 (constants)
_LOCK: Final = (
    f"SELECT parked_at, record, correlation, closed_by, closed_at, cancelled FROM waits WHERE {_KEY} FOR UPDATE"  # noqa: S608
)
_CALLS: Final = f"SELECT call_id, settled_by, settled FROM wait_calls WHERE {_KEY}"  # noqa: S608
_SETTLE: Final = f"""
UPDATE wait_calls SET settled_by = $6, settled_at = $7, state = $8, decided_by = $9, reason = $10, settled = $11
WHERE {_KEY} AND call_id = $5
"""  # noqa: S608
_CLOSE: Final = f"""
UPDATE waits SET closed_by = $5, closed_at = $6, cancelled = EXISTS (
    SELECT FROM cancellations asked WHERE asked.tenant = waits.tenant AND asked.run_id = waits.run_id
)
WHERE {_KEY} RETURNING cancelled
"""  # noqa: S608
_CHILD: Final = """
SELECT run_id, step, round, call_id FROM wait_calls WHERE tenant = $1 AND child_run_id = $2
"""


Decide = Callable[[Question], Settled | None]


class Name(NamedTuple):
    """Which wait."""

    tenant: str
    run_id: str
    step: int
    round: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        return storable_text(self.tenant), storable_text(self.run_id), self.step, self.round


@dataclass(frozen=True, slots=True)
class Closed:
    """A wait of which nothing is pending. ``settled`` is by call id, ``correlation`` the headers that go along.

    ``cancelled``: the run was cancelled by the time that the wait closed.
    """

    wait: RunWait
    settled: Mapping[str, Settled]
    cancelled: bool
    parked_ms: int
    closed_ms: int
    correlation: Mapping[str, str]


class PostgresWaits:
    """On a pool. Every method raises ``DependencyUnavailable`` while Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def park(self, wait: RunWait, context: Context, correlation: Mapping[str, str]) -> bool:
        """Keep ``wait``; whether it is still open."""
        name = name_of(wait)
        tools = {call.call_id: call.tool for call in wait.calls}
        with translated(), encoding():
            row = (wait.run.agent.name, _time(context.timestamp_ms), msgspec.json.encode(wait), dict(correlation))
            calls = [(*name.key, *_row(name, pending, tools)) for pending in wait.pending]
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_PARK, *name.key, *row)
                await connection.executemany(_PARK_CALL, calls)
                return bool(await connection.fetchval(_OPEN, *name.key))

    async def settle(self, name: Name, call_id: str, context: Context, decide: Decide) -> Closed | None:
        """Settle one call, if it is pending and ``decide`` says as what. The wait, if the record of ``context`` is
        what closed it.
        """
        with translated(), encoding():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(_LOCK, *name.key)
                if row is None or row["closed_by"] not in (None, context.position):
                    return None
                wait = _DECODE_WAIT(row["record"])
                calls = await connection.fetch(_CALLS, *name.key)
                settled = {one["call_id"]: _DECODE_SETTLED(one["settled"]) for one in calls if one["settled_by"]}
                cancelled = row["cancelled"]
                if row["closed_by"] is None:
                    found = _found(wait, settled, call_id, context, decide)
                    if found is None:
                        return None
                    await connection.execute(_SETTLE, *name.key, storable_text(call_id), *_values(found, context))
                    settled[call_id] = found
                    if len(settled) < len(wait.pending):
                        return None
                    closing = context.position, _time(context.timestamp_ms)
                    cancelled = await connection.fetchval(_CLOSE, *name.key, *closing)
        closed_ms = _milliseconds(row["closed_at"]) if row["closed_at"] else context.timestamp_ms
        return Closed(wait, settled, cancelled, _milliseconds(row["parked_at"]), closed_ms, row["correlation"])

    async def child(self, tenant: str, child_run_id: str) -> tuple[Name, str] | None:
        """The wait and call id that a sub-agent's run is of."""
        with translated(), encoding():
            row = await self._pool.fetchrow(_CHILD, storable_text(tenant), storable_text(child_run_id))
        return None if row is None else (Name(tenant, row["run_id"], row["step"], row["round"]), row["call_id"])


def _found(
    wait: RunWait, settled: Mapping[str, Settled], call_id: str, context: Context, decide: Decide
) -> Settled | None:
    """What the call is settled as; None if it is not pending, or stays so."""
    pending = next((one for one in wait.pending if one.call_id == call_id), None)
    if pending is None or call_id in settled:
        return None
    call = next(one for one in wait.calls if one.call_id == call_id)
    return decide(Question(wait, pending, call, context.timestamp_ms))


def _values(found: Settled, context: Context) -> tuple[Any, ...]:
    reason = None if found.reason is None else storable_text(found.reason)
    at = _time(context.timestamp_ms)
    return context.position, at, found.state, found.decided_by, reason, msgspec.json.encode(found)


def name_of(wait: RunWait) -> Name:
    return Name(wait.run.tenant, wait.run.run_id, wait.progress.step, wait.round)


def _row(name: Name, pending: PendingCall, tools: Mapping[str, str]) -> tuple[Any, ...]:
    pending_id = ids.pending_id(*name, pending.call_id)
    child = None if pending.job is None else storable_text(pending.job.job_id)
    tool = storable_text(tools.get(pending.call_id, "")[:128])
    return (
        storable_text(pending.call_id),
        pending_id,
        pending.kind,
        tool,
        pending.arguments_hash,
        child,
        _time(pending.deadline_ms),
        None if pending.kube_job is None else storable_text(pending.kube_job),
    )


def _time(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)
