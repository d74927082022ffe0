"""Intents: which calls of tools with the effect ``once`` were begun, and what came of them.

An intent is written before its call and gets the outcome after it, so one without an outcome is a call that may have
taken effect. A call may begin again only in a later round, after somebody said so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import asyncpg
import orjson

from headrace.postgres.errors import encoding, translated
from headrace.postgres.json import storable_text

_BEGIN: Final = """
INSERT INTO tool_intents (key, round) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET round = excluded.round
WHERE tool_intents.outcome IS NULL AND $3 AND tool_intents.round < excluded.round
RETURNING true
"""
_OUTCOME: Final = "SELECT outcome FROM tool_intents WHERE key = $1"
_FINISH: Final = "UPDATE tool_intents SET outcome = $2 WHERE key = $1"


@dataclass(frozen=True, slots=True)
class Begun:
    """The call may be made now, by whoever got this."""


@dataclass(frozen=True, slots=True)
class Open:
    """It was begun before, and nobody knows what came of it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """It was made: this is what came of it, as ``finish`` was given it."""

    outcome: Any


class Intents(Protocol):
    """All methods raise ``DependencyUnavailable`` while the store is away."""

    async def begin(self, key: str, round_: int, *, again: bool) -> Begun | Open | Finished:
        """``again``: somebody said that the call may be made once more in this round."""
        ...

    async def finish(self, key: str, outcome: Any) -> None: ...


class PostgresIntents:
    """On a pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, key: str, round_: int, *, again: bool) -> Begun | Open | Finished:
        with translated(), encoding():
            if await self._pool.fetchval(_BEGIN, storable_text(key), round_, again):
                return Begun()
            outcome: bytes | None = await self._pool.fetchval(_OUTCOME, storable_text(key))
        return Open() if outcome is None else Finished(orjson.loads(outcome))

    async def finish(self, key: str, outcome: Any) -> None:
        with translated():
            await self._pool.execute(_FINISH, storable_text(key), orjson.dumps(outcome))
