"""Usage windows in Postgres: parts are stored, windows are their sum, and what changed is announced.

Everything here may be repeated, by any number of processes at once. A part's row never goes back to a lower offset; a window's row
is locked while its parts are summed, so each revision holds all parts that are stored by then; and it counts as announced only
when Kafka has it, so an announcement may come twice and none is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from headrace.analytics.book import PartWindow
from headrace.analytics.windows import WindowKey
from headrace.messages.totals import Totals, merged
from headrace.messages.usage import UsageWindow
from headrace.postgres.errors import translated

Announce = Callable[[Sequence[UsageWindow]], Awaitable[None]]
_Keys = tuple[list[str], list[str], list[datetime], list[int]]

_KEY: Final = "tenant, agent_name, window_start, window_seconds"
_WANTED: Final = f"SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::int[]) AS wanted ({_KEY})"  # noqa: S608 (constants)
_CREATE: Final = f"""
INSERT INTO usage_windows ({_KEY}, window_end)
SELECT {_KEY}, window_start + window_seconds * interval '1 second' FROM ({_WANTED}) AS wanted
ON CONFLICT DO NOTHING
"""  # noqa: S608
_LOCK: Final = f"SELECT 1 FROM usage_windows JOIN ({_WANTED}) AS wanted USING ({_KEY}) ORDER BY {_KEY} FOR UPDATE"  # noqa: S608
_PARTS: Final = f"""
INSERT INTO usage_parts ({_KEY}, part, last_offset, totals)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::int[], $5::text[], $6::bigint[], $7::jsonb[])
ON CONFLICT ({_KEY}, part) DO UPDATE SET last_offset = excluded.last_offset, totals = excluded.totals
WHERE excluded.last_offset > usage_parts.last_offset
RETURNING {_KEY}
"""  # noqa: S608
_READ: Final = f"SELECT {_KEY}, totals FROM usage_parts JOIN ({_WANTED}) AS wanted USING ({_KEY})"  # noqa: S608
_UPDATE: Final = """
UPDATE usage_windows SET runs = $5, failed = $6, error_rate = $7, input_tokens = $8, output_tokens = $9, cost_usd = $10,
    latency_p50_ms = $11, latency_p95_ms = $12, latency_p99_ms = $13, totals = $14,
    revision = revision + 1, final = false, updated_at = now()
WHERE tenant = $1 AND agent_name = $2 AND window_start = $3 AND window_seconds = $4
"""
_PROGRESS: Final = """
INSERT INTO usage_progress (part, closed_ms) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (part) DO UPDATE SET closed_ms = excluded.closed_ms, seen_at = now()
WHERE excluded.closed_ms > usage_progress.closed_ms
"""
_FINALISE: Final = """
UPDATE usage_windows SET final = true, revision = revision + 1, updated_at = now()
WHERE NOT final AND window_end <= now() - $1::interval AND window_end <= (
    SELECT coalesce(to_timestamp(min(closed_ms) FILTER (WHERE seen_at > now() - $2::interval) / 1000.0), 'infinity')
    FROM usage_progress
)
"""
_UNPUBLISHED: Final = f"""
SELECT {_KEY}, totals, revision, final FROM usage_windows WHERE published < revision
ORDER BY window_start LIMIT $1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608
_PUBLISHED: Final = f"""
UPDATE usage_windows SET published = revision FROM ({_WANTED}) AS wanted
WHERE (usage_windows.tenant, usage_windows.agent_name, usage_windows.window_start, usage_windows.window_seconds)
    = (wanted.tenant, wanted.agent_name, wanted.window_start, wanted.window_seconds)
"""  # noqa: S608


class UsageStore:
    """Writes on a pool. All methods raise ``DependencyUnavailable`` when Postgres is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def save(self, windows: Sequence[PartWindow]) -> None:
        """Store what parts hold of windows, and sum those windows anew of which a part has got on."""
        if not windows:
            return
        ordered = sorted(windows, key=lambda one: (one.window, one.part))
        keys = _columns(sorted({one.window for one in ordered}))
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_CREATE, *keys)
                await connection.fetch(_LOCK, *keys)
                rows = await connection.fetch(
                    _PARTS,
                    *_columns([one.window for one in ordered]),
                    [one.part for one in ordered],
                    [one.state.offset for one in ordered],
                    [one.state.totals.to_json() for one in ordered],
                )
                changed = sorted({_key(row) for row in rows})
                parts = await connection.fetch(_READ, *_columns(changed))
                await connection.executemany(_UPDATE, [_row(key, totals) for key, totals in _summed(parts).items()])

    async def progress(self, closed_ms: Mapping[str, int]) -> None:
        """Note up to when each part is closed (epoch milliseconds)."""
        with translated():
            await self._pool.execute(_PROGRESS, list(closed_ms), list(closed_ms.values()))

    async def finalise(self, *, grace: timedelta, idle: timedelta) -> None:
        """Mark windows as final that are closed for every part that got on within ``idle``."""
        with translated():
            await self._pool.execute(_FINALISE, grace, idle)

    async def announce(self, send: Announce, limit: int) -> int:
        """``send`` at most ``limit`` windows that changed since they were last sent; how many there were."""
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(_UNPUBLISHED, limit)
                if rows:
                    await send([_window(row) for row in rows])
                    await connection.execute(_PUBLISHED, *_columns([_key(row) for row in rows]))
        return len(rows)


def _columns(keys: Sequence[WindowKey]) -> _Keys:
    return (
        [key.tenant for key in keys],
        [key.agent for key in keys],
        [datetime.fromtimestamp(key.start_ms / 1000, UTC) for key in keys],
        [key.seconds for key in keys],
    )


def _key(row: asyncpg.Record) -> WindowKey:
    start_ms = round(row["window_start"].timestamp() * 1000)
    return WindowKey(row["tenant"], row["agent_name"], start_ms, row["window_seconds"])


def _summed(parts: Sequence[asyncpg.Record]) -> dict[WindowKey, Totals]:
    by_window: dict[WindowKey, list[Totals]] = {}
    for row in parts:
        by_window.setdefault(_key(row), []).append(Totals.from_json(row["totals"]))
    return {key: merged(totals) for key, totals in by_window.items()}


def _row(key: WindowKey, totals: Totals) -> tuple[Any, ...]:
    sums = totals.sums
    return (
        *(column[0] for column in _columns([key])),
        sums.runs,
        sums.failed,
        totals.error_rate,
        sums.input_tokens,
        sums.output_tokens,
        sums.cost_usd,
        *(totals.percentile(share) for share in (0.50, 0.95, 0.99)),
        totals.to_json(),
    )


def _window(row: asyncpg.Record) -> UsageWindow:
    key = _key(row)
    return UsageWindow.of(*key, Totals.from_json(row["totals"]), revision=row["revision"], final=row["final"])
