"""What runs wait for, read from the tables of waits (``wait_calls``); orchestration writes them.

What settles a wait is a record, and never written here. Questions, which somebody decides, are the calls of kind ``approval``,
and of kind ``intent``: calls that may have been made already.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import asyncpg
import msgspec
import orjson

from headrace.messages.errors import BadMessage
from headrace.messages.wait import Kind, RunWait
from headrace.postgres.errors import translated
from headrace.postgres.json import storable_text

MAX_LIMIT: Final = 200
QuestionState = Literal["pending", "approved", "denied", "answered", "reported", "due", "cancelled"]
QUESTIONS: Final[Collection[Kind]] = ("approval", "intent")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECODE: Final = msgspec.json.Decoder(RunWait).decode
_COLUMNS: Final = """
pending_id, tenant, run_id, step, round, call_id, agent, kind, tool, arguments_hash, state, parked_at, deadline,
settled_at, decided_by, reason
"""
_LIST: Final = f"""
SELECT {_COLUMNS} FROM wait_calls JOIN waits USING (tenant, run_id, step, round)
WHERE tenant = $1 AND kind = ANY($6) AND ($2::text IS NULL OR state = $2)
    AND ($3::timestamptz IS NULL OR (deadline, pending_id) < ($3, $4::uuid))
ORDER BY deadline DESC, pending_id DESC LIMIT $5
"""  # noqa: S608 (constants)
_ONE: Final = f"""
SELECT {_COLUMNS}, record, settled FROM wait_calls JOIN waits USING (tenant, run_id, step, round)
WHERE tenant = $1 AND pending_id = $2 AND kind = ANY($3)
"""  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True)
class Question:
    """One call that a run waits for. ``arguments`` (or ``arguments_ref``), ``approved_with`` (those of an approval that edited
    them) and ``outcome`` are known of a single one only.

    ``state`` says what became of it: due is a no for want of an answer. ``outcome`` is the ``ToolOutcome`` of one that is settled
    and not made, as JSON. Times are UTC.
    """

    id: str
    run_id: str
    agent: str
    kind: Kind
    tool: str
    arguments_hash: str
    state: QuestionState
    asked_at: datetime
    deadline: datetime
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    step: int
    round: int
    call_id: str
    arguments: dict[str, Any] | None = None
    arguments_ref: str | None = None
    approved_with: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class QuestionPage:
    """By deadline, the latest first; ``cursor`` (opaque) gives the next page, None at the end."""

    approvals: list[Question]
    cursor: str | None


class PostgresApprovals:
    """On a pool. Every method raises ``DependencyUnavailable`` while Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def questions(
        self,
        tenant: str,
        *,
        state: QuestionState | None,
        limit: int = 50,
        cursor: str | None = None,
        kinds: Collection[Kind] = QUESTIONS,
    ) -> QuestionPage:
        """Raises ``BadMessage`` for a cursor that is not one of ours."""
        limit = max(1, min(limit, MAX_LIMIT))
        after = (None, None) if cursor is None else _decoded(cursor)
        with translated():
            rows = await self._pool.fetch(_LIST, storable_text(tenant), state, *after, limit + 1, list(kinds))
        more = len(rows) > limit
        last = _encoded(rows[limit - 1]) if more else None
        return QuestionPage([_question(row) for row in rows[:limit]], last)

    async def question(self, tenant: str, question_id: str, kinds: Collection[Kind] = QUESTIONS) -> Question | None:
        """With its arguments and outcome; None if there is none (any more)."""
        try:
            name = uuid.UUID(question_id)
        except ValueError:
            return None
        with translated():
            row = await self._pool.fetchrow(_ONE, storable_text(tenant), name, list(kinds))
        if row is None:
            return None
        call = next(call for call in _DECODE(row["record"]).calls if storable_text(call.call_id) == row["call_id"])
        stored = call.arguments_ref is not None
        settled = orjson.loads(row["settled"]) if row["settled"] else {}
        return _question(
            row,
            arguments=None if stored else call.arguments,
            arguments_ref=call.arguments_ref,
            approved_with=settled.get("arguments"),
            outcome=settled.get("outcome"),
        )


def _question(row: asyncpg.Record, **known: Any) -> Question:
    return Question(
        id=str(row["pending_id"]),
        run_id=row["run_id"],
        agent=row["agent"],
        kind=row["kind"],
        tool=row["tool"],
        arguments_hash=row["arguments_hash"],
        state=row["state"],
        asked_at=row["parked_at"],
        deadline=row["deadline"],
        decided_at=row["settled_at"],
        decided_by=row["decided_by"],
        reason=row["reason"],
        step=row["step"],
        round=row["round"],
        call_id=row["call_id"],
        **known,
    )


def _encoded(row: asyncpg.Record) -> str:
    place = orjson.dumps([(row["deadline"] - _EPOCH) // timedelta(microseconds=1), str(row["pending_id"])])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _decoded(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        microseconds, name = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return _EPOCH + timedelta(microseconds=int(microseconds)), uuid.UUID(str(name))
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise BadMessage("not a cursor of this list", cause="cursor") from None
