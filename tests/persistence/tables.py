"""Tables as text, to compare two states of them byte for byte."""

from __future__ import annotations

import asyncpg

TABLES = ("runs", "run_steps", "agent_results", "events", "session_runs")


async def dump(pool: asyncpg.Pool) -> dict[str, list[str]]:
    """Each table's rows in the order of their text."""
    return {name: [row[0] for row in await pool.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")] for name in TABLES}


async def clear(pool: asyncpg.Pool) -> None:
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}")
